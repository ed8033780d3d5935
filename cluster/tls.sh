#!/bin/sh
# A certificate for this machine, signed by the cluster's authority, for Ray's TLS (RAY_USE_TLS=1).
#
#   sh cluster/tls.sh CA OUT       CA has ca.crt and ca.key; OUT gets tls.crt, tls.key, ca.crt, and env to source
#   sh cluster/tls.sh --new CA     make an authority first, once a cluster; keep ca.key to yourself
#
# Ray checks the address of whom it talks to, so each machine needs a certificate for its own addresses.
set -eu
umask 077
if [ "$1" = --new ]; then
  mkdir -p "$2"
  exec openssl req -quiet -x509 -newkey rsa:3072 -nodes -sha256 -days 365 -subj "/CN=raymaskdp cluster" \
    -keyout "$2/ca.key" -out "$2/ca.crt"
fi
mkdir -p "$2"
names="DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
for address in $(hostname -I); do names="$names,IP:$address"; done
openssl req -quiet -newkey rsa:3072 -nodes -sha256 -subj "/CN=$(hostname)" -keyout "$2/tls.key" -out "$2/tls.csr"
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names" > "$2/tls.ext"
openssl x509 -req -sha256 -days 30 -in "$2/tls.csr" -extfile "$2/tls.ext" \
  -CA "$1/ca.crt" -CAkey "$1/ca.key" -set_serial "0x$(openssl rand -hex 16)" -out "$2/tls.crt"
cp "$1/ca.crt" "$2/ca.crt"
rm "$2/tls.csr" "$2/tls.ext"
{
  echo "export RAY_USE_TLS=1 RAY_TLS_CA_CERT=$2/ca.crt"
  echo "export RAY_TLS_SERVER_CERT=$2/tls.crt RAY_TLS_SERVER_KEY=$2/tls.key"
} > "$2/env"
