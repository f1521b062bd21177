#!/usr/bin/env bash
# Makes what deploy/compose.yaml needs and the repository must not hold: a password of the database
# and one certificate of an authority of its own, for scheduler, workers and nights. What is there
# already is kept; to rotate, remove a file and start again.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

if [[ ! -e database-password ]]; then
    openssl rand -hex 24 >database-password
    printf 'postgresql+asyncpg://prefect:%s@postgres:5432/prefect\n' "$(<database-password)" >database-url
fi
if [[ ! -e own.key ]]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj '/CN=musichash authority' -addext 'basicConstraints=critical,CA:TRUE' \
        -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj '/CN=musichash' -keyout own.key -out own.csr
    openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -out own.pem \
        -extfile <(printf '%s\n' 'subjectAltName=DNS:scheduler,DNS:localhost,IP:127.0.0.1' \
            'basicConstraints=CA:FALSE' 'extendedKeyUsage=serverAuth,clientAuth')
    rm -f own.csr ca.srl
fi
# Compose mounts them with the owner and mode that they have here.
if [[ $EUID -eq 0 ]]; then
    chown 10001:10001 database-url ca.pem own.pem own.key
else
    echo "as root: chown 10001:10001 $PWD/{database-url,ca.pem,own.pem,own.key}" >&2
fi
