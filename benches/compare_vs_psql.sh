#!/usr/bin/env bash
# What comparing two schemas costs beside two `psql` in parallel that only fetch the same definitions, and beside two `pg_dump -s` in parallel and a diff.
# Each round runs every contender once, in turn, on the same two databases of one server over TCP; a ratio is the median over rounds of contender / psql
# in the same round.
# Usage: benches/compare_vs_psql.sh [ROUNDS] [TABLES]     needs bash, PostgreSQL's programs, GNU time, `cargo build --release`
set -euo pipefail
rounds=${1:-9} tables=${2:-2000}
here=$(cd "$(dirname "$0")/.." && pwd)
dbd=${DBD:-$here/target/release/dbd}
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
[ -x "$dbd" ] || { echo "build it first: cargo build --release" >&2; exit 1; }
work=$(mktemp -d /tmp/dbd-bench.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then chown -R postgres "$work/server" "$work/log"; su postgres -s /bin/bash -c "$1"; else bash -c "$1"; fi; }
cleanup() { as "$bin/pg_ctl -D $work/server -m immediate stop" >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
chmod 755 "$work"; mkdir "$work/server"; touch "$work/log"
free_port() { local p; while :; do p=$(( 20000 + RANDOM % 12000 )); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }; done; }
port=$(free_port)
as "$bin/initdb -D $work/server -A trust -U postgres >/dev/null && $bin/pg_ctl -D $work/server -o '-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_locks_per_transaction=8192 -p $port' -l $work/log -w start >/dev/null"
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGOPTIONS="-c client_min_messages=warning"
q() { "$bin/psql" -Xq -v ON_ERROR_STOP=1 "$@"; }
schema() { # SIDE: ten columns a table, a primary key, two indexes, a check, a foreign key; side b differs in one table of fifty
  local k type
  for (( k = 1; k <= tables; k++ )); do
    type=text; [ "$1" = a ] || [ $(( k % 50 )) != 0 ] || type='varchar(200)'
    echo "create table t_$k (id bigint generated always as identity primary key, name $type not null, note text default 'none', at timestamptz not null default now(), price numeric(12, 2) default 0 check (price >= 0), tags text[], kind smallint not null default 1, flag boolean, data jsonb, parent bigint);"
    echo "create index t_${k}_at on t_$k (at); create unique index t_${k}_name on t_$k (lower(name), kind);"
    [ "$k" = 1 ] || echo "alter table t_$k add foreign key (parent) references t_$(( k - 1 )) (id);"
  done
}
for side in a b; do q -d postgres -c "create database $side"; schema $side | q -d $side; q -d $side -c 'vacuum analyze'; done
# What the definitions of tables, columns, constraints and indexes are, as psql would fetch them.
cat >"$work/definitions.sql" <<'SQL'
\pset format unaligned
\pset tuples_only on
select n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.reloptions, obj_description(c.oid, 'pg_class')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and n.nspname = 'public' order by 1, 2;
select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation, pg_get_expr(d.adbin, d.adrelid)
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = 'public' order by 1, 2;
select c.relname, k.conname, k.contype, k.condeferrable, k.convalidated, pg_get_constraintdef(k.oid)
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' order by 1, 2;
select c.relname, i.relname, x.indisunique, x.indisprimary, x.indisvalid, pg_get_indexdef(x.indexrelid)
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'public' order by 1, 2;
select * from pg_sequences order by 1, 2;
SQL
psqls() { q -d a -f "$work/definitions.sql" -o "$work/a.txt" & q -d b -f "$work/definitions.sql" -o "$work/b.txt"; wait; }
dumps() { "$bin/pg_dump" -s -d a -f "$work/a.sql" & "$bin/pg_dump" -s -d b -f "$work/b.sql"; wait; diff "$work/a.sql" "$work/b.sql" >/dev/null || [ $? = 1 ]; }
url() { echo "postgres://postgres@127.0.0.1:$port/$1"; }
compares() { "$dbd" compare "$(url b)" "$(url a)" --json >"$work/out" || [ $? = 6 ]; }
: >"$work/results"
timed() { local a b; a=$(date +%s%N); "$1"; b=$(date +%s%N); took=$(( (b - a) / 1000 )); }
for round in $(seq 0 "$rounds"); do # the first round warms the caches and is not counted
  timed psqls; base=$took
  for one in dumps compares; do
    timed "$one"; [ "$round" = 0 ] || printf '%s\t%s\t%s\n' "$one" "$took" "$base" >>"$work/results"
  done
done
found=$(grep -o '"change":"modified"' "$work/out" | wc -l)
[ "$found" -ge $(( tables / 50 )) ] || { echo "dbd found $found changes of $(( tables / 50 ))" >&2; exit 1; }
peak=$( { /usr/bin/time -f %M "$dbd" compare "$(url b)" "$(url a)" >/dev/null || true; } 2>&1 | tail -1)
echo "$tables tables, $rounds rounds; dbd found $found changes, peak memory $(( peak / 1024 )) MB"
awk -F'\t' '{ v[$1, ++c[$1]] = $2 / $3; t[$1, c[$1]] = $2 / 1000 } !($1 in seen) { seen[$1] = 1; name[++k] = $1 }
  function median(a, m,  i, j, x) { for (i = 2; i <= m; i++) { x = a[i]; for (j = i - 1; j > 0 && a[j] > x; j--) a[j + 1] = a[j]; a[j + 1] = x } return a[int((m + 1) / 2)] }
  END { for (i = 1; i <= k; i++) { n = name[i]; for (j = 1; j <= c[n]; j++) { r[j] = v[n, j]; w[j] = t[n, j] } x = median(r, c[n]); y = median(w, c[n])
    printf "%-9s / two psql  median %.2f  (from %.2f to %.2f over %d rounds; median %d ms)\n", n, x, r[1], r[c[n]], c[n], y } }' "$work/results"
