#!/bin/sh
# Makes the secrets that the compose files of this folder read. What is there already stays: running it twice changes nothing.
#
#     deploy/make_secrets.sh [FOLDER]     # default: deploy/secrets
#
# Two are mounted as files and read by containers under users of their own, so all may read them; the folder is yours alone.
set -eu

folder="${1:-$(dirname "$0")/secrets}"
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { openssl rand -hex "$1"; }

# Write what comes on stdin under a name ($1) with a mode ($2), whole or not at all.
put() {
    cat > "$folder/$1.new"
    chmod "$2" "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

[ -s "$folder/api_key" ] || random 32 | put api_key 644
[ -s "$folder/postgres_password" ] || random 32 | put postgres_password 644

# Garage takes keys of its own form alone: GK and 12 bytes, and 32 bytes.
[ -s "$folder/store.env" ] || put store.env 600 <<END
GARAGE_RPC_SECRET=$(random 32)
GARAGE_DEFAULT_ACCESS_KEY=GK$(random 12)
GARAGE_DEFAULT_SECRET_KEY=$(random 32)
END

. "$folder/store.env"
[ -s "$folder/server.env" ] || put server.env 600 <<END
UPSCALE_DATABASE_URL=postgresql://upscale:$(cat "$folder/postgres_password")@postgres/upscale
UPSCALE_JOBS__SEAL_SECRET=$(random 32)
UPSCALE_STORAGE__S3__ACCESS_KEY=$GARAGE_DEFAULT_ACCESS_KEY
UPSCALE_STORAGE__S3__SECRET_KEY=$GARAGE_DEFAULT_SECRET_KEY
END

echo "the secrets are in $folder; callers give the key in $folder/api_key" >&2
