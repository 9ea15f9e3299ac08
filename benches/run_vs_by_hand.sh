#!/usr/bin/env bash
# What a run of 10 migrations costs beside the same steps by hand: pg_dump, a scratch server, pg_restore, psql there, psql on the target.
# Each round does both, in turn, on fresh copies of one database; the ratio is the median over rounds of (dbd / by hand) in the same round.
# Usage: benches/run_vs_by_hand.sh [ROUNDS] [ROWS]       needs bash, PostgreSQL's programs, a release build of dbd
set -euo pipefail
rounds=${1:-7} rows=${2:-200000}
here=$(cd "$(dirname "$0")/.." && pwd)
dbd=${DBD:-$here/target/release/dbd}
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -x "$dbd" ] || { echo "build it first: cargo build --release" >&2; exit 1; }
work=$(mktemp -d /tmp/dbd-bench.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then chown -R postgres "$work"; su postgres -s /bin/bash -c "$1"; else bash -c "$1"; fi; }
cleanup() { as "$bin/pg_ctl -D $work/target -m immediate stop" >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
chmod 755 "$work"
as "$bin/initdb -D $work/target -A trust -U postgres >/dev/null && $bin/pg_ctl -D $work/target -o '-c listen_addresses= -k $work' -l $work/log -w start >/dev/null"
export PGHOST=$work PGUSER=postgres
q() { "$bin/psql" -Xq -v ON_ERROR_STOP=1 "$@"; }
q -d postgres -c "create database base"
q -d base -c "create table orders (id bigint primary key, customer int not null, note text, total numeric(10,2));
  insert into orders select g, g % 1000, repeat('x', 40), g % 500 from generate_series(1, $rows) g; analyze"
mkdir -p "$work/project/migrations"
for n in $(seq -w 1 10); do
  echo "create table extra_$n (id bigint primary key, order_id bigint references orders (id)); alter table orders add column c_$n int default $((10#$n));" \
    > "$work/project/migrations/00${n}_step.sql"
done
now() { date +%s%N; }
by_hand() { # database
  "$bin/pg_dump" -Fc -Z1 -f "$work/hand.dump" "$1" && "$bin/pg_restore" -f /dev/null "$work/hand.dump"
  as "$bin/initdb --no-sync -D $work/scratch -A trust -U postgres >/dev/null && $bin/pg_ctl -D $work/scratch -o '-F -c listen_addresses= -k $work -p 5433' -l $work/slog -w start >/dev/null"
  q -p 5433 -d postgres -c "create database copy"
  "$bin/pg_restore" -p 5433 -1 -d copy "$work/hand.dump"
  for file in "$work"/project/migrations/*.sql; do q -p 5433 -d copy -1 -f "$file"; done
  as "$bin/pg_ctl -D $work/scratch -m immediate stop >/dev/null" && rm -rf "$work/scratch"
  for file in "$work"/project/migrations/*.sql; do q -d "$1" -1 -f "$file"; done
}
with_dbd() { (cd "$work/project" && rm -rf .dbd .deployments && DEV_POSTGRES_URL="postgres://postgres@localhost/$1?host=$work" "$dbd" start dev -q >/dev/null); }
# The first run prepares the data folder that scratch servers start from; it is kept between runs, so it is no part of any of them.
q -d postgres -c "create database warm template base"; with_dbd warm
for round in $(seq "$rounds"); do
  q -d postgres -c "create database hand_$round template base" -c "create database dbd_$round template base" -c checkpoint
  a=$(now); by_hand "hand_$round"; b=$(now); with_dbd "dbd_$round"; c=$(now)
  echo "round $round: by hand $(((b - a) / 1000000)) ms, dbd $(((c - b) / 1000000)) ms" >&2
  echo "$(((c - b) * 1000 / (b - a)))"
done | sort -n | awk '{v[NR]=$1} END {m=v[int((NR+1)/2)]; printf "median ratio dbd / by hand: %.2f (from %.2f to %.2f over %d rounds)\n", m/1000, v[1]/1000, v[NR]/1000, NR}'
