#!/usr/bin/env bash
# How long reads and writes of a table wait while 18 kinds of migration are deployed to it, beside what dbd foretold from the sandbox.
# For each kind: a fresh copy of one database, `dbd start` up to the approval (which foretells), then clients that read and write single rows
# while the run is approved and deployed. Measured is the longest single wait of any client, per kind of access.
# A forecast is right within 30 % or 50 ms of what was measured.
# Usage: benches/forecast.sh [ROWS] [KIND...]       needs bash, PostgreSQL's programs with pgbench, a release build of dbd
set -euo pipefail
rows=${1:-600000}; shift || true
wanted=" $* "
here=$(cd "$(dirname "$0")/.." && pwd)
dbd=${DBD:-$here/target/release/dbd}
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -x "$dbd" ] || { echo "build it first: cargo build --release" >&2; exit 1; }
work=$(mktemp -d /tmp/dbd-bench.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then chown postgres "$work"; su postgres -s /bin/bash -c "$1"; else bash -c "$1"; fi; }
cleanup() { as "$bin/pg_ctl -D $work/target -m immediate stop" >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
chmod 755 "$work"
as "$bin/initdb -D $work/target -A trust -U postgres >/dev/null && $bin/pg_ctl -D $work/target -o '-c listen_addresses= -k $work -c max_wal_size=8GB -c checkpoint_timeout=1h -c autovacuum=off' -l $work/log -w start >/dev/null"
export PGHOST=$work PGUSER=postgres
q() { "$bin/psql" -Xqt -v ON_ERROR_STOP=1 "$@"; }
q -d postgres -c "create database base"
q -d base -c "create table customers (id int primary key, name text not null);
  insert into customers select g, 'name ' || g from generate_series(1, 10000) g;
  create table orders (id int primary key, customer int not null, amount int, note text, status text, total numeric(10,2) not null, at timestamp not null);
  insert into orders select g, g % 10000 + 1, g % 90, repeat(md5(g::text), 2), 'open', g % 500, '2024-01-01' from generate_series(1, $rows) g;
  create index orders_customer on orders (customer)" -c "vacuum analyze"
cat > "$work/read.sql" <<SQL
\set id random(1, $rows)
select total from orders where id = :id;
SQL
cat > "$work/write.sql" <<SQL
\set id random(1, $rows)
update orders set total = total + 1 where id = :id;
SQL
# name | first migration | second | third
kinds() { cat <<'KINDS'
int_to_bigint|alter table orders alter column amount type bigint
add_column_constant|alter table orders add column extra int not null default 7
add_column_volatile|alter table orders add column extra uuid not null default gen_random_uuid()
set_not_null|alter table orders alter column note set not null
add_check|alter table orders add constraint positive check (amount >= 0)
check_in_three|alter table orders add constraint noted check (note is not null) not valid|alter table orders validate constraint noted|alter table orders alter column note set not null
add_foreign_key|alter table orders add constraint who foreign key (customer) references customers
foreign_key_in_two|alter table orders add constraint who foreign key (customer) references customers not valid|alter table orders validate constraint who
foreign_key_in_one_transaction|alter table orders add constraint who foreign key (customer) references customers not valid; alter table orders validate constraint who
create_index|create index orders_note on orders (note)
create_index_concurrently|create index concurrently orders_note on orders (note)
add_unique|alter table orders add constraint one unique (id, customer)
unique_using_index|create unique index concurrently one on orders (id, customer)|alter table orders add constraint one unique using index one
drop_column|alter table orders drop column status
text_to_varchar|alter table orders alter column note type varchar(200)
update_all|update orders set amount = amount + 1
backfill_in_one_transaction|alter table orders add column extra int; update orders set extra = amount; alter table orders alter column extra set not null
delete_most|delete from orders where id % 10 <> 0
KINDS
}
longest() { # log prefix -> longest wait in ms; with a rate the log's last field is how late a transaction began
  cat "$1".* 2>/dev/null | awk '{wait = $3 - $7; if (wait > most) most = wait} END {printf "%d", most / 1000}'
}
echo "| kind | reads foretold | reads measured | writes foretold | writes measured | |"
echo "|---|---|---|---|---|---|"
kinds | while IFS='|' read -r kind first second third; do
  [ "$wanted" = "  " ] || [[ $wanted == *" $kind "* ]] || continue
  rm -rf "$work/project"; mkdir -p "$work/project/migrations"; cd "$work/project"
  n=0; for sql in "$first" "$second" "$third"; do
    n=$((n + 1)); [ -z "$sql" ] || echo "$sql;" > "migrations/000${n}_$kind.sql"
  done
  printf '[environments.dev]\napproval = true\n' > dbd.toml
  q -d postgres -c "drop database if exists target" -c "create database target template base" -c checkpoint
  export DEV_POSTGRES_URL="postgres://postgres@localhost/target?host=$work"
  "$dbd" start dev --json --allow all --reason bench > start.json 2> start.log || true
  run=$(ls .deployments | head -1)
  foretold() { q -d postgres -A -v doc="$(cat ".deployments/$run/rehearsal.json")" <<SQL
select coalesce(max((f->>'held_ms')::int), 0) from jsonb_array_elements((:'doc')::jsonb->'forecast') f
 where f->>'object' = 'public.orders' and f->>'blocks' similar to '$1';
SQL
  }
  reads=$(foretold 'reads and writes') writes=$(foretold '(reads and writes|writes%)')
  last=$((4 + 3 * (reads + writes) / 1000))
  # Warm, as a live table is.
  q -d target -c "select count(*) from orders" >/dev/null
  for access in read write; do
    (cd "$work" && exec "$bin/pgbench" -n -c 4 -R 100 -T "$last" -f "$work/$access.sql" -l --log-prefix="$work/$access" target >/dev/null 2>&1) &
  done
  sleep 1
  "$dbd" approve "$run" -q >/dev/null 2>&1
  ended=0; "$dbd" resume "$run" -q > resume.log 2>&1 || ended=$?
  wait
  [ "$ended" = 0 ] || { echo "$kind ended with $ended" >&2; cat resume.log >&2; exit 1; }
  read_ms=$(longest "$work/read") write_ms=$(longest "$work/write"); rm -f "$work"/read.[0-9]* "$work"/write.[0-9]*
  right() { awk -v f="$1" -v m="$2" 'BEGIN {d = f > m ? f - m : m - f; exit !(d <= 50 || d <= 0.3 * m)}'; }
  verdict=right; right "$reads" "$read_ms" && right "$writes" "$write_ms" || verdict=WRONG
  echo "| $kind | $reads | $read_ms | $writes | $write_ms | $verdict |"
done
