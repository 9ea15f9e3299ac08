#!/usr/bin/env bash
# What applying N small migrations costs beside psql running the same files, one transaction and one ledger row each.
# Each round does both on fresh databases of one server; of dbd it counts the phase in which the target changes (its journal synced to
# disk twice a migration, its ledger and its tracking row in the migration's transaction), as the run itself reports it.
# Usage: benches/apply_vs_psql.sh [ROUNDS] [N]       needs bash, PostgreSQL's programs, a release build of dbd
set -euo pipefail
rounds=${1:-5} n=${2:-100}
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
mkdir -p "$work/project/migrations"
echo "create table ledger (version text primary key, checksum text not null, at timestamptz not null default now());" >"$work/each.sql"
for (( i = 1; i <= n; i++ )); do
  k=$(( (i - 1) / 4 + 1 ))
  case $(( (i - 1) % 4 )) in
    0) sql="create table t_$k (id bigint generated always as identity primary key, name text not null, at timestamptz not null default now());" ;;
    1) sql="alter table t_$k add column note text not null default '';" ;;
    2) sql="create index t_${k}_at on t_$k (at);" ;;
    3) sql="alter table t_$k add constraint t_${k}_name check (name <> '');" ;;
  esac
  number=$(printf %06d "$i")
  echo "$sql" >"$work/project/migrations/${number}_step.sql"
  printf "begin;\n%s\ninsert into ledger (version, checksum) values ('%s', '%064d');\ncommit;\n" "$sql" "$number" "$i" >>"$work/each.sql"
done
now() { date +%s%N; }
with_dbd() { (cd "$work/project" && rm -rf .dbd .deployments && DEV_POSTGRES_URL="postgres://postgres@localhost/$1?host=$work" "$dbd" start dev --json -q 2>/dev/null) | sed 's/.*"duration_ms":\([0-9]*\),"name":"deployment".*/\1/'; }
for round in $(seq 0 "$rounds"); do
  q -d postgres -c "create database hand_$round" -c "create database dbd_$round" -c checkpoint
  a=$(now); q -d "hand_$round" -f "$work/each.sql"; b=$(now); ours=$(with_dbd "dbd_$round")
  hand=$(((b - a) / 1000))
  # The first round warms the caches and is not counted.
  [ "$round" = 0 ] && continue
  echo "round $round: psql $((hand / 1000)) ms, dbd's deployment phase $ours ms" >&2
  echo "$((ours * 1000000 / hand))"
done | sort -n | awk '{v[NR]=$1} END {m=v[int((NR+1)/2)]; printf "median ratio dbd / psql: %.2f (from %.2f to %.2f over %d rounds)\n", m/1000, v[1]/1000, v[NR]/1000, NR}'
