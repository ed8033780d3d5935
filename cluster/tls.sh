#!/bin/sh
# A certificate for this machine, signed by the cluster's authority, for Ray's TLS (RAY_USE_TLS=1).
#
#   sh cluster/tls.sh CA OUT [NAME...]   CA has ca.crt and ca.key; OUT gets tls.crt, tls.key, ca.crt, and env to source
#   sh cluster/tls.sh --new CA           make an authority first, once a cluster; keep ca.key to yourself
#
# Ray checks the address of whom it talks to, so each machine needs a certificate for its own addresses, and for
# every other NAME that it is called by.
set -eu
umask 077
if [ "$1" = --new ]; then
  mkdir -p "$2"
  exec openssl req -quiet -x509 -newkey rsa:3072 -nodes -sha256 -days 365 -subj "/CN=raymaskdp cluster" \
    -keyout "$2/ca.key" -out "$2/ca.crt"
fi
ca=$1
out=$2
shift 2
mkdir -p "$out"
names="DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
for address in $(hostname -I); do names="$names,IP:$address"; done
for name in "$@"; do names="$names,DNS:$name"; done
openssl req -quiet -newkey rsa:3072 -nodes -sha256 -subj "/CN=$(hostname)" -keyout "$out/tls.key" -out "$out/tls.csr"
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names" > "$out/tls.ext"
openssl x509 -req -sha256 -days 30 -in "$out/tls.csr" -extfile "$out/tls.ext" \
  -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -set_serial "0x$(openssl rand -hex 16)" -out "$out/tls.crt"
cp "$ca/ca.crt" "$out/ca.crt"
rm "$out/tls.csr" "$out/tls.ext"
{
  echo "export RAY_USE_TLS=1 RAY_TLS_CA_CERT=$out/ca.crt"
  echo "export RAY_TLS_SERVER_CERT=$out/tls.crt RAY_TLS_SERVER_KEY=$out/tls.key"
} > "$out/env"
