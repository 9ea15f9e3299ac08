#!/usr/bin/env bash
# What applying N small migrations costs beside psql running the same files, one transaction and one ledger row each, in one session.
# Each round runs every contender once, in turn, on fresh databases of one server over TCP; a ratio is the median over rounds of contender / psql
# in the same round. Contenders:
#   apply            a process that does nothing but apply (benches/apply.rs): it reads the folder and what is applied, takes the target's lock, makes the
#                    ledger's schema, and for each migration the lease, the ledger's row, the statement, the tracking row, the commit
#   its steps        of that, what is done for the migrations, from the first to the last commit
#   apply+journal    the same with the intent before and the outcome after each step, both synced to disk
#   deployment       the phase of `dbd start` in which the target changes, as the run itself reports it
#   dbmate, diesel, sqlx, refinery   where $OWNERS has them (.ci/owners makes such a folder; cargo install --root $OWNERS/cargo diesel_cli)
#   nothing to do    `apply` once more, beside one psql that reads the ledger
# Usage: benches/apply_vs_psql.sh [ROUNDS] [N]     needs bash, PostgreSQL's programs, `cargo build --release`, `cargo bench --no-run --bench apply`
set -euo pipefail
rounds=${1:-7} n=${2:-100}
here=$(cd "$(dirname "$0")/.." && pwd)
dbd=${DBD:-$here/target/release/dbd} owners=${OWNERS:-$here/target/owners}
apply=${APPLY:-$(ls -t "$here"/target/release/deps/apply-* 2>/dev/null | grep -v '\.d$' | head -1)}
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -x "$apply" ] || { echo "build it first: cargo bench --no-run --bench apply" >&2; exit 1; }
work=$(mktemp -d /tmp/dbd-bench.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then chown -R postgres "$work/target" "$work/log"; su postgres -s /bin/bash -c "$1"; else bash -c "$1"; fi; }
cleanup() { as "$bin/pg_ctl -D $work/target -m immediate stop" >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
chmod 755 "$work"; mkdir "$work/target"; touch "$work/log"
free_port() { local p; while :; do p=$(( 20000 + RANDOM % 12000 )); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }; done; }
port=$(free_port)
as "$bin/initdb -D $work/target -A trust -U postgres >/dev/null && $bin/pg_ctl -D $work/target -o '-c listen_addresses=127.0.0.1 -c unix_socket_directories= -p $port' -l $work/log -w start >/dev/null"
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres
export PGOPTIONS="-c client_min_messages=warning"
q() { "$bin/psql" -Xq -v ON_ERROR_STOP=1 "$@"; }
mkdir -p "$work/project/migrations" "$work"/{dbmate,diesel,sqlx,refinery}
echo "create table ledger (version text primary key, checksum text not null, at timestamptz not null default now());" >"$work/each.sql"
for (( i = 1; i <= n; i++ )); do
  k=$(( (i - 1) / 4 + 1 ))
  case $(( (i - 1) % 4 )) in
    0) sql="create table t_$k (id bigint generated always as identity primary key, name text not null, at timestamptz not null default now());" ;;
    1) sql="alter table t_$k add column note text not null default '';" ;;
    2) sql="create index t_${k}_at on t_$k (at);" ;;
    3) sql="alter table t_$k add constraint t_${k}_name check (name <> '');" ;;
  esac
  number=$(printf %06d "$i") stamp=$(( 20240101000000 + (i / 60) * 100 + i % 60 ))
  echo "$sql" >"$work/project/migrations/${number}_step.sql"
  printf "begin;\n%s\ninsert into ledger (version, checksum) values ('%s', '%064d');\ncommit;\n" "$sql" "$number" "$i" >>"$work/each.sql"
  printf -- "-- migrate:up\n%s\n\n-- migrate:down\nselect 1;\n" "$sql" >"$work/dbmate/${stamp}_step.sql"
  echo "$sql" >"$work/sqlx/${stamp}_step.sql"
  echo "$sql" >"$work/refinery/V${i}__step.sql"
  mkdir "$work/diesel/2024-01-01-${number}_step"
  echo "$sql" >"$work/diesel/2024-01-01-${number}_step/up.sql"; echo "select 1;" >"$work/diesel/2024-01-01-${number}_step/down.sql"
done
now() { date +%s%N; }
url() { echo "postgres://postgres@127.0.0.1:$port/$1"; }
start() { (cd "$work/project" && rm -rf .dbd .deployments && DEV_POSTGRES_URL=$(url "$1") "$dbd" start dev --json -q 2>/dev/null) | sed 's/.*"duration_ms":\([0-9]*\),"name":"deployment".*/\1/'; }
: >"$work/results"
fresh() { q -d postgres -c "drop database if exists $1 with (force)" -c "create database $1" -c checkpoint; }
# measure NAME DATABASE COMMAND...: how long it takes, in microseconds; the database is checked for what has to be in it
measure() {
  local name=$1 db=$2 a b; shift 2
  a=$(now); "$@" >"$work/out" 2>&1 || { echo "$name failed:" >&2; tail -5 "$work/out" >&2; exit 1; }; b=$(now)
  [ "$(q -Atd "$db" -c "select count(*) from pg_class where relkind = 'r' and relname ~ '^t_[0-9]+$'")" = $(( (n + 3) / 4 )) ] || { echo "$name left something out" >&2; exit 1; }
  took=$(( (b - a) / 1000 ))
}
note() { echo "round $round: $1 $(( $2 / 1000 )) ms beside $(( $3 / 1000 )) ms" >&2; [ "$round" = 0 ] || printf '%s\t%s\t%s\t%s\n' "$1" "$round" "$2" "$3" >>"$work/results"; }
for round in $(seq 0 "$rounds"); do # the first round warms the caches and is not counted
  fresh hand; measure psql hand "$bin/psql" -Xq -v ON_ERROR_STOP=1 -d hand -f "$work/each.sql"; base=$took
  contend() { local name=$1; shift; fresh one; measure "$name" one "$@"; note "$name" "$took" "$base"; }
  contend apply "$apply" "$(url one)" "$work/project/migrations"
  note "its steps" "$(sed -n 's/.*the steps in \([0-9]*\) us/\1/p' "$work/out")" "$base"
  # What a run with nothing to do has to read.
  measure none one "$apply" "$(url one)" "$work/project/migrations"; none=$took
  a=$(now); q -Atd hand -c 'select version, checksum from ledger order by version' >/dev/null; b=$(now)
  note "nothing to do" "$none" "$(( (b - a) / 1000 ))"
  rm -rf "$work/journal"; mkdir "$work/journal"
  contend apply+journal "$apply" "$(url one)" "$work/project/migrations" "$work/journal/journal.db"
  if [ -x "$dbd" ]; then fresh one; note deployment "$(( $(start one) * 1000 ))" "$base"; fi
  dbmate=$owners/node_modules/@dbmate/linux-x64/bin/dbmate
  [ ! -x "$dbmate" ] || contend dbmate "$dbmate" --no-dump-schema -u "$(url one)?sslmode=disable" -d "$work/dbmate" up
  [ ! -x "$owners/cargo/bin/diesel" ] || contend diesel "$owners/cargo/bin/diesel" migration run --database-url "$(url one)" --migration-dir "$work/diesel"
  [ ! -x "$owners/cargo/bin/sqlx" ] || contend sqlx "$owners/cargo/bin/sqlx" migrate run --no-dotenv --source "$work/sqlx" -D "$(url one)"
  [ ! -x "$owners/cargo/bin/refinery" ] || contend refinery env DATABASE_URL="$(url one)" "$owners/cargo/bin/refinery" migrate -e DATABASE_URL -p "$work/refinery"
done
awk -F'\t' '{ v[$1, ++c[$1]] = $3 / $4; t[$1, c[$1]] = $3 / 1000; if (!($1 in seen)) { seen[$1] = 1; name[++k] = $1 } }
  function median(a, m,  i, j, x) { for (i = 2; i <= m; i++) { x = a[i]; for (j = i - 1; j > 0 && a[j] > x; j--) a[j + 1] = a[j]; a[j + 1] = x } return a[int((m + 1) / 2)] }
  END { for (i = 1; i <= k; i++) { m = c[name[i]]; for (j = 1; j <= m; j++) { r[j] = v[name[i], j]; w[j] = t[name[i], j] }
    mid = median(r, m); ms = median(w, m); printf "%-14s / psql  median %.2f  (from %.2f to %.2f over %d rounds; median %.0f ms)\n", name[i], mid, r[1], r[m], m, ms } }' "$work/results"
