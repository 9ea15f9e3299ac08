-- Migrations whose dangers a real server decides; see score.rs. Each: '== name', the schema before, '--', the migration.

== check constraint valid
create table accounts (id bigint primary key, age int);
--
alter table accounts add constraint age_positive check (age >= 0);
== check constraint not valid
create table accounts (id bigint primary key, age int);
--
alter table accounts add constraint age_positive check (age >= 0) not valid;
== check constraint not valid then validated in two transactions
create table accounts (id bigint primary key, age int);
--
begin; alter table accounts add constraint age_positive check (age >= 0) not valid; commit;
begin; alter table accounts validate constraint age_positive; commit;
== check constraint not valid then validated in one transaction
create table accounts (id bigint primary key, age int);
--
begin; alter table accounts add constraint age_positive check (age >= 0) not valid; alter table accounts validate constraint age_positive; commit;
== check constraint without a name
create table accounts (id bigint primary key, age int);
--
ALTER TABLE "accounts" ADD CHECK ("age" < 200);
== check constraint on a new table
--
create table fresh (id bigint primary key, age int); alter table fresh add constraint age_positive check (age >= 0);
== check constraint on a table of the same transaction
--
begin; create table fresh (id bigint primary key, age int); alter table fresh add constraint age_positive check (age >= 0); commit;
== validate a check somebody else left
create table accounts (id bigint primary key, age int); alter table accounts add constraint age_positive check (age >= 0) not valid;
--
alter table accounts validate constraint age_positive;
== foreign key valid
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint);
--
alter table posts add constraint posts_user_fk foreign key (user_id) references users (id);
== foreign key not valid
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint);
--
alter table posts add constraint posts_user_fk foreign key (user_id) references users (id) not valid;
== foreign key not valid then validated
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint);
--
begin; alter table posts add constraint posts_user_fk foreign key (user_id) references users (id) not valid; commit;
begin; alter table posts validate constraint posts_user_fk; commit;
== foreign key not valid and validated in one transaction
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint);
--
begin; alter table posts add constraint posts_user_fk foreign key (user_id) references users (id) not valid; alter table posts validate constraint posts_user_fk; commit;
== foreign key with a new column
create table users (id bigint primary key); create table posts (id bigint primary key);
--
alter table posts add column user_id bigint references users (id);
== foreign key with a new column that has a default
create table users (id bigint primary key); insert into users values (1); create table posts (id bigint primary key);
--
alter table posts add column user_id bigint default 1 references users (id);
== foreign key with a new column and on delete
create table users (id bigint primary key); create table posts (id bigint primary key);
--
alter table posts add column if not exists user_id bigint references users (id) on delete cascade;
== foreign key of a new table
create table users (id bigint primary key);
--
create table posts (id bigint primary key, user_id bigint not null references users (id));
== foreign key of a new table by alter
create table users (id bigint primary key);
--
create table posts (id bigint primary key, user_id bigint not null); alter table posts add constraint posts_user_fk foreign key (user_id) references users (id);
== foreign key from an old table to a new one
create table posts (id bigint primary key, user_id bigint);
--
create table users (id bigint primary key); alter table posts add constraint posts_user_fk foreign key (user_id) references users (id);
== foreign key in drizzle's words
create table "users" ("id" text primary key not null); create table "posts" ("id" text primary key not null, "user_id" text not null);
--
ALTER TABLE "posts" ADD CONSTRAINT "posts_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;
== foreign key in a block that forgives a double
create table "users" ("id" text primary key not null); create table "posts" ("id" text primary key not null, "user_id" text not null);
--
DO $$ BEGIN
 ALTER TABLE "posts" ADD CONSTRAINT "posts_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE no action ON UPDATE no action;
EXCEPTION
 WHEN duplicate_object THEN null;
END $$;
== foreign key of a new table in a block that forgives a double
create table "users" ("id" text primary key not null);
--
CREATE TABLE IF NOT EXISTS "posts" ("id" text primary key not null, "user_id" text not null);
DO $$ BEGIN
 ALTER TABLE "posts" ADD CONSTRAINT "posts_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE no action ON UPDATE no action;
EXCEPTION
 WHEN duplicate_object THEN null;
END $$;
== set not null
create table accounts (id bigint primary key, email text);
--
alter table accounts alter column email set not null;
== set not null proven by a check
create table accounts (id bigint primary key, email text, constraint email_there check (email is not null));
--
alter table accounts alter column email set not null;
== set not null with a check that is not valid
create table accounts (id bigint primary key, email text); alter table accounts add constraint email_there check (email is not null) not valid;
--
alter table accounts alter column email set not null;
== set not null by the whole ladder
create table accounts (id bigint primary key, email text);
--
begin; set local lock_timeout = '2s'; alter table accounts add constraint email_there check (email is not null) not valid; commit;
begin; set local lock_timeout = '2s'; alter table accounts validate constraint email_there; commit;
begin; set local lock_timeout = '2s'; alter table accounts alter column email set not null; alter table accounts drop constraint email_there; commit;
== set not null of what is not null already
create table accounts (id bigint primary key, email text not null);
--
alter table accounts alter column email set not null;
== set not null of a new column
create table accounts (id bigint primary key);
--
alter table accounts add column email text; alter table accounts alter column email set not null;
== set not null of a new column with a default
create table accounts (id bigint primary key);
--
alter table accounts add column email text default ''; update accounts set email = 'x'; alter table accounts alter column email set not null;
== set not null and type
create table accounts (id bigint primary key, email varchar(20));
--
alter table accounts alter column email type text, alter column email set not null;
== drop not null
create table accounts (id bigint primary key, email text not null);
--
alter table accounts alter column email drop not null;
== add nullable column
create table accounts (id bigint primary key);
--
alter table accounts add column nickname text;
== add column with constant default
create table accounts (id bigint primary key);
--
alter table accounts add column active boolean default true;
== add column not null with constant default
create table accounts (id bigint primary key);
--
alter table accounts add column active boolean not null default false;
== add column not null without default
create table accounts (id bigint primary key);
--
alter table accounts add column email text not null;
== add column default now
create table accounts (id bigint primary key);
--
alter table accounts add column created_at timestamptz not null default now();
== add column default current_timestamp
create table accounts (id bigint primary key);
--
ALTER TABLE accounts ADD COLUMN created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL;
== add column default clock_timestamp
create table accounts (id bigint primary key);
--
alter table accounts add column created_at timestamptz default clock_timestamp();
== add column default statement_timestamp
create table accounts (id bigint primary key);
--
alter table accounts add column created_at timestamptz default statement_timestamp();
== add column default timeofday
create table accounts (id bigint primary key);
--
alter table accounts add column created_at text default timeofday();
== add column default random
create table accounts (id bigint primary key);
--
alter table accounts add column dice double precision default random();
== add column default gen_random_uuid
create table accounts (id bigint primary key);
--
alter table accounts add column token uuid not null default gen_random_uuid();
== add column default uuid_generate_v4
create extension if not exists "uuid-ossp"; create table accounts (id bigint primary key);
--
alter table accounts add column token uuid default uuid_generate_v4();
== add column default nextval
create sequence tickets; create table accounts (id bigint primary key);
--
alter table accounts add column ticket bigint default nextval('tickets');
== add column default of an immutable function of one's own
create table accounts (id bigint primary key); create function answer() returns int language sql immutable as 'select 42';
--
alter table accounts add column a int default answer();
== add column default of a volatile function of one's own
create table accounts (id bigint primary key); create function answer() returns int language plpgsql as 'begin return 42; end';
--
alter table accounts add column a int default answer();
== add column default of a stable function of one's own
create table accounts (id bigint primary key); create function answer() returns int language plpgsql stable as 'begin return 42; end';
--
alter table accounts add column a int default answer();
== add column default of a volatile sql function that is inlined
create table accounts (id bigint primary key); create function answer() returns int language sql as 'select 42';
--
alter table accounts add column a int default answer();
== add column default of a function made here
create table accounts (id bigint primary key);
--
create function short_id() returns text language plpgsql volatile as $$ begin return md5(random()::text); end $$;
alter table accounts add column code text default short_id();
== add column default expression of constants
create table accounts (id bigint primary key);
--
alter table accounts add column due date default current_date + interval '30 days';
== add column default json
create table accounts (id bigint primary key);
--
alter table accounts add column settings jsonb not null default '{}'::jsonb;
== add column default array
create table accounts (id bigint primary key);
--
alter table accounts add column tags text[] not null default array[]::text[];
== add column default empty array by word
create table accounts (id bigint primary key);
--
alter table accounts add column tags text[] default '{}';
== add column default coalesce of current_setting
create table accounts (id bigint primary key);
--
alter table accounts add column tenant text default current_setting('app.tenant', true);
== add column default lower of a constant
create table accounts (id bigint primary key);
--
alter table accounts add column slug text not null default lower('ABC');
== add column default md5 of random
create table accounts (id bigint primary key);
--
alter table accounts add column slug text default substr(md5(random()::text), 1, 8);
== add column default now in another zone
create table accounts (id bigint primary key);
--
alter table accounts add column made timestamp default (now() at time zone 'utc');
== add column default extract epoch
create table accounts (id bigint primary key);
--
alter table accounts add column made bigint default (extract(epoch from now()) * 1000)::bigint;
== add column with default then drop default
create table accounts (id bigint primary key);
--
alter table accounts add column kind text not null default 'x'; alter table accounts alter column kind drop default;
== add serial
create table accounts (id bigint primary key);
--
alter table accounts add column seq serial;
== add bigserial not null
create table accounts (id uuid primary key);
--
alter table accounts add column seq bigserial not null;
== add serial primary key
create table accounts (name text);
--
alter table accounts add column id serial primary key;
== add identity
create table accounts (name text);
--
alter table accounts add column id bigint generated always as identity;
== add identity primary key
create table accounts (name text);
--
alter table accounts add column id bigint generated by default as identity primary key;
== make a column an identity
create table accounts (id bigint not null, name text);
--
alter table accounts alter column id add generated always as identity;
== add generated stored
create table accounts (id bigint primary key, first text, last text);
--
alter table accounts add column full_name text generated always as (first || ' ' || last) stored;
== drop expression
create table accounts (id bigint primary key, first text, full_name text generated always as (first || '!') stored);
--
alter table accounts alter column full_name drop expression;
== add column of a constrained domain
create domain email as text check (value like '%@%'); create table accounts (id bigint primary key);
--
alter table accounts add column mail email;
== add column of a constrained domain with default
create domain amount as numeric check (value >= 0); create table accounts (id bigint primary key);
--
alter table accounts add column balance amount default 0;
== add column of a free domain
create domain nick as text; create table accounts (id bigint primary key);
--
alter table accounts add column nick nick default 'x';
== add column of an enum
create type mood as enum ('sad', 'ok'); create table accounts (id bigint primary key);
--
alter table accounts add column mood mood not null default 'ok';
== add column of a new enum
create table accounts (id bigint primary key);
--
create type mood as enum ('sad', 'ok'); alter table accounts add column mood mood default 'ok' not null;
== add column of a new constrained domain
create table accounts (id bigint primary key);
--
create domain email as text check (value like '%@%'); alter table accounts add column mail email;
== add column unique
create table accounts (id bigint primary key);
--
alter table accounts add column handle text unique;
== add column with check
create table accounts (id bigint primary key);
--
alter table accounts add column age int check (age > 0);
== add column with named check
create table accounts (id bigint primary key);
--
alter table accounts add column age int default 1 constraint age_ok check (age > 0);
== add column if not exists that exists
create table accounts (id bigint primary key, email text);
--
alter table accounts add column if not exists email text not null default 'x';
== add several columns
create table accounts (id bigint primary key);
--
alter table accounts add column a int, add column b text default 'b', add column c boolean not null default false;
== add several columns, one of them volatile
create table accounts (id bigint primary key);
--
alter table accounts add column a int, add column b uuid default gen_random_uuid();
== add char column
create table accounts (id bigint primary key);
--
alter table accounts add column code char(3) default 'abc';
== add json column
create table accounts (id bigint primary key);
--
alter table accounts add column doc json;
== drop column
create table accounts (id bigint primary key, email text);
--
alter table accounts drop column email;
== drop column cascade
create table accounts (id bigint primary key, email text); create view mails as select email from accounts;
--
alter table accounts drop column email cascade;
== set default
create table accounts (id bigint primary key, email text);
--
alter table accounts alter column email set default 'x';
== set default volatile
create table accounts (id bigint primary key, token uuid);
--
alter table accounts alter column token set default gen_random_uuid();
== drop default
create table accounts (id bigint primary key, email text default 'x');
--
alter table accounts alter column email drop default;
== unique constraint
create table accounts (id bigint primary key, email text);
--
alter table accounts add constraint accounts_email_key unique (email);
== unique constraint in drizzle's words
create table accounts (id bigint primary key, email text);
--
ALTER TABLE "accounts" ADD CONSTRAINT "accounts_email_unique" UNIQUE("email");
== unique using index
create table accounts (id bigint primary key, email text); create unique index accounts_email_key on accounts (email);
--
alter table accounts add constraint accounts_email_key unique using index accounts_email_key;
== unique by the ladder
create table accounts (id bigint primary key, email text);
--
create unique index concurrently accounts_email_key on accounts (email);
alter table accounts add constraint accounts_email_key unique using index accounts_email_key;
== primary key
create table accounts (id bigint not null, email text);
--
alter table accounts add primary key (id);
== primary key over a nullable column
create table accounts (id bigint, email text);
--
alter table accounts add constraint accounts_pkey primary key (id);
== primary key using index over not null columns
create table accounts (id bigint not null, email text); create unique index accounts_id on accounts (id);
--
alter table accounts add constraint accounts_pkey primary key using index accounts_id;
== primary key using index over nullable columns
create table accounts (id bigint, email text); create unique index accounts_id on accounts (id);
--
alter table accounts add constraint accounts_pkey primary key using index accounts_id;
== primary key swapped
create table accounts (id bigint not null, email text not null, constraint accounts_pkey primary key (id));
--
alter table accounts drop constraint accounts_pkey; alter table accounts add constraint accounts_pkey primary key (id, email);
== exclusion constraint
create extension if not exists btree_gist; create table bookings (id bigint primary key, room int, during tsrange);
--
alter table bookings add constraint no_overlap exclude using gist (room with =, during with &&);
== drop constraint
create table accounts (id bigint primary key, age int constraint c check (age > 0));
--
alter table accounts drop constraint c;
== drop primary key cascade
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint references users);
--
alter table users drop constraint users_pkey cascade;
== create index
create table accounts (id bigint primary key, email text);
--
create index accounts_email_idx on accounts (email);
== create index in drizzle's words
create table accounts (id bigint primary key, email text);
--
CREATE INDEX "accounts_email_idx" ON "accounts" USING btree ("email");
== create index if not exists
create table accounts (id bigint primary key, email text);
--
create index if not exists accounts_email_idx on accounts (email);
== create index if not exists that exists
create table accounts (id bigint primary key, email text); create index accounts_email_idx on accounts (email);
--
create index if not exists accounts_email_idx on accounts (email);
== create index concurrently
create table accounts (id bigint primary key, email text);
--
create index concurrently accounts_email_idx on accounts (email);
== create unique index
create table accounts (id bigint primary key, email text);
--
create unique index accounts_email_idx on accounts (lower(email)) where email is not null;
== create gin index
create table docs (id bigint primary key, body jsonb);
--
create index on docs using gin (body);
== create index on a new table
--
create table accounts (id bigint primary key, email text); create index on accounts (email);
== create index on a new table if not exists
--
create table if not exists accounts (id bigint primary key, email text); create index if not exists accounts_email on accounts (email);
== create index on a table made if not exists that was there
create table accounts (id bigint primary key, email text);
--
create table if not exists accounts (id bigint primary key, email text); create index if not exists accounts_email on accounts (email);
== create index after alter in one transaction
create table accounts (id bigint primary key);
--
begin; alter table accounts add column email text; create index on accounts (email); commit;
== create index on a partitioned table
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
create index on logs (at);
== create index only on a partitioned table
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
create index logs_at on only logs (at);
== create index on a partition
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
create index logs_1_at on logs_1 (at);
== create index on a materialized view
create table accounts (id bigint primary key); create materialized view m as select id from accounts;
--
create unique index on m (id);
== create index on a new materialized view
create table accounts (id bigint primary key);
--
create materialized view m as select id from accounts; create unique index on m (id);
== drop index
create table accounts (id bigint primary key, email text); create index e on accounts (email);
--
drop index e;
== drop index concurrently
create table accounts (id bigint primary key, email text); create index e on accounts (email);
--
drop index concurrently if exists e;
== drop and create index
create table accounts (id bigint primary key, email text); create index e on accounts (email);
--
drop index e; create index e on accounts (email desc);
== rename index
create table accounts (id bigint primary key, email text); create index e on accounts (email);
--
alter index e rename to f;
== reindex index
create table accounts (id bigint primary key, email text); create index e on accounts (email);
--
reindex index e;
== reindex table
create table accounts (id bigint primary key, email text);
--
reindex table accounts;
== reindex concurrently
create table accounts (id bigint primary key, email text);
--
reindex table concurrently accounts;
== cluster
create table accounts (id bigint primary key, email text);
--
cluster accounts using accounts_pkey;
== vacuum full
create table accounts (id bigint primary key, email text);
--
vacuum full accounts;
== vacuum analyze
create table accounts (id bigint primary key, email text);
--
vacuum analyze accounts;
== analyze
create table accounts (id bigint primary key, email text);
--
analyze accounts;
== refresh materialized view
create table accounts (id bigint primary key); create materialized view m as select id from accounts;
--
refresh materialized view m;
== refresh materialized view concurrently
create table accounts (id bigint primary key); create materialized view m as select id from accounts; create unique index on m (id);
--
refresh materialized view concurrently m;
== refresh materialized view with no data
create table accounts (id bigint primary key); create materialized view m as select id from accounts;
--
refresh materialized view m with no data;
== varchar grows
create table accounts (id bigint primary key, name varchar(50));
--
alter table accounts alter column name type varchar(100);
== varchar shrinks
create table accounts (id bigint primary key, name varchar(50));
--
alter table accounts alter column name type varchar(20);
== varchar to text
create table accounts (id bigint primary key, name varchar(50));
--
alter table accounts alter column name type text;
== varchar to text with an index
create table accounts (id bigint primary key, name varchar(50)); create index on accounts (name);
--
alter table accounts alter column name type text;
== text to varchar with a length
create table accounts (id bigint primary key, name text);
--
ALTER TABLE "accounts" ALTER COLUMN "name" SET DATA TYPE varchar(255);
== varchar grows in drizzle's words
create table accounts (id bigint primary key, name varchar(100));
--
ALTER TABLE "accounts" ALTER COLUMN "name" SET DATA TYPE varchar(255);
== text to varchar
create table accounts (id bigint primary key, name text);
--
alter table accounts alter column name type varchar;
== int to bigint
create table accounts (id int primary key);
--
alter table accounts alter column id type bigint;
== int to bigint in drizzle's words
create table accounts (id serial primary key, n int);
--
ALTER TABLE "accounts" ALTER COLUMN "n" SET DATA TYPE bigint;
== bigint to int
create table accounts (id bigint primary key);
--
alter table accounts alter column id set data type int;
== smallint to int
create table accounts (id bigint primary key, n smallint);
--
alter table accounts alter column n type integer;
== int to text
create table accounts (id bigint primary key, n int);
--
alter table accounts alter column n type text;
== text to int using
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type integer using n::integer;
== uuid to text
create table accounts (id uuid primary key);
--
ALTER TABLE "accounts" ALTER COLUMN "id" SET DATA TYPE text;
== text to uuid using
create table accounts (id text primary key);
--
ALTER TABLE accounts ALTER COLUMN id SET DATA TYPE uuid USING id::uuid;
== timestamp to timestamptz
create table accounts (id bigint primary key, at timestamp);
--
alter table accounts alter column at type timestamptz;
== timestamp to timestamptz in zone
create table accounts (id bigint primary key, at timestamp);
--
alter table accounts alter column at type timestamptz using at at time zone 'UTC';
== timestamp to timestamptz with the session in UTC
create table accounts (id bigint primary key, at timestamp);
--
set timezone = 'UTC'; alter table accounts alter column at type timestamptz;
== timestamptz to timestamp with the session in Berlin
create table accounts (id bigint primary key, at timestamptz);
--
set timezone = 'Europe/Berlin'; alter table accounts alter column at type timestamp;
== timestamp precision grows
create table accounts (id bigint primary key, at timestamp(3));
--
alter table accounts alter column at type timestamp(6);
== timestamp precision shrinks
create table accounts (id bigint primary key, at timestamp);
--
ALTER TABLE "accounts" ALTER COLUMN "at" SET DATA TYPE timestamp(3);
== timestamptz precision shrinks
create table accounts (id bigint primary key, at timestamptz);
--
alter table accounts alter column at type timestamptz(3);
== date to timestamp
create table accounts (id bigint primary key, at date);
--
alter table accounts alter column at type timestamp;
== numeric precision grows
create table accounts (id bigint primary key, n numeric(10, 2));
--
alter table accounts alter column n type numeric(12, 2);
== numeric scale grows
create table accounts (id bigint primary key, n numeric(10, 2));
--
alter table accounts alter column n type numeric(12, 4);
== numeric unbounded
create table accounts (id bigint primary key, n numeric(10, 2));
--
alter table accounts alter column n type numeric;
== numeric bounded
create table accounts (id bigint primary key, n numeric);
--
alter table accounts alter column n type numeric(10, 2);
== int to numeric
create table accounts (id bigint primary key, n int);
--
ALTER TABLE "accounts" ALTER COLUMN "n" SET DATA TYPE numeric(10, 2);
== real to double precision
create table accounts (id bigint primary key, n real);
--
alter table accounts alter column n type double precision;
== json to jsonb
create table accounts (id bigint primary key, doc json);
--
alter table accounts alter column doc type jsonb using doc::jsonb;
== jsonb to json
create table accounts (id bigint primary key, doc jsonb);
--
ALTER TABLE "accounts" ALTER COLUMN "doc" SET DATA TYPE json;
== text to jsonb using
create table accounts (id bigint primary key, doc text);
--
ALTER TABLE "accounts" ALTER COLUMN "doc" SET DATA TYPE jsonb USING "doc"::jsonb;
== text to enum using
create type mood as enum ('sad', 'ok'); create table accounts (id bigint primary key, mood text);
--
alter table accounts alter column mood type mood using mood::mood;
== enum to text
create type mood as enum ('sad', 'ok'); create table accounts (id bigint primary key, mood mood);
--
ALTER TABLE "accounts" ALTER COLUMN "mood" SET DATA TYPE text;
== enum replaced
create type mood as enum ('sad', 'ok', 'bad'); create table accounts (id bigint primary key, mood mood not null default 'ok');
--
begin;
create type mood_new as enum ('sad', 'ok');
alter table accounts alter column mood drop default;
alter table accounts alter column mood type mood_new using (mood::text::mood_new);
alter type mood rename to mood_old; alter type mood_new rename to mood; drop type mood_old;
alter table accounts alter column mood set default 'ok';
commit;
== char grows
create table accounts (id bigint primary key, code char(3));
--
alter table accounts alter column code type char(5);
== char to varchar
create table accounts (id bigint primary key, code char(3));
--
alter table accounts alter column code type varchar(3);
== char to text
create table accounts (id bigint primary key, code char(3));
--
alter table accounts alter column code type text;
== cidr to inet
create table accounts (id bigint primary key, ip cidr);
--
alter table accounts alter column ip type inet;
== inet to text
create table accounts (id bigint primary key, ip inet);
--
alter table accounts alter column ip type text;
== text to citext
create extension if not exists citext; create table accounts (id bigint primary key, email text);
--
alter table accounts alter column email type citext;
== text to citext with a unique index
create extension if not exists citext; create table accounts (id bigint primary key, email text unique);
--
alter table accounts alter column email type citext;
== text to free domain
create domain nick as text; create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type nick;
== text to constrained domain
create domain nick as text check (value <> ''); create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type nick;
== constrained domain to text
create domain nick as text check (value <> ''); create table accounts (id bigint primary key, n nick);
--
alter table accounts alter column n type text;
== text array to varchar array
create table accounts (id bigint primary key, n text[]);
--
alter table accounts alter column n type varchar[];
== int array to bigint array
create table accounts (id bigint primary key, n int[]);
--
alter table accounts alter column n type bigint[];
== interval precision
create table accounts (id bigint primary key, n interval(3));
--
alter table accounts alter column n type interval;
== bytea from text using
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type bytea using n::bytea;
== boolean from text using
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type boolean using (n = 'yes');
== same type again
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type text;
== collation changed
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type text collate "C";
== collation changed of an indexed column
create table accounts (id bigint primary key, n text); create index on accounts (n);
--
alter table accounts alter column n type text collate "C";
== varchar to text with a check over it
create table accounts (id bigint primary key, n varchar(9) check (length(n) > 2));
--
alter table accounts alter column n type text;
== type of a column of a new table
--
create table fresh (id int primary key); alter table fresh alter column id type bigint;
== type of a column that was just added
create table accounts (id bigint primary key);
--
alter table accounts add column n int; alter table accounts alter column n type bigint;
== using with an expression
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n type text using trim(n);
== type of a column of a partitioned table
create table logs (id int, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
alter table logs alter column id type bigint;
== set storage
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n set storage external;
== set statistics
create table accounts (id bigint primary key, n text);
--
alter table accounts alter column n set statistics 500;
== set fillfactor
create table accounts (id bigint primary key, n text);
--
alter table accounts set (fillfactor = 80);
== set unlogged
create table accounts (id bigint primary key, n text);
--
alter table accounts set unlogged;
== set logged
create unlogged table accounts (id bigint primary key, n text);
--
alter table accounts set logged;
== set logged of a logged table
create table accounts (id bigint primary key, n text);
--
alter table accounts set logged;
== set without cluster
create table accounts (id bigint primary key, n text);
--
alter table accounts set without cluster;
== set access method
create table accounts (id bigint primary key, n text);
--
alter table accounts set access method heap;
== set tablespace default
create table accounts (id bigint primary key, n text);
--
alter table accounts set tablespace pg_default;
== set schema
create schema app; create table accounts (id bigint primary key, n text);
--
alter table accounts set schema app;
== owner to
create table accounts (id bigint primary key, n text);
--
alter table accounts owner to postgres;
== rename table
create table accounts (id bigint primary key, n text);
--
alter table accounts rename to customers;
== rename column
create table accounts (id bigint primary key, n text);
--
alter table accounts rename column n to name;
== rename table and index it
create table accounts (id bigint primary key, n text);
--
alter table accounts rename to customers; create index on customers (n);
== rename constraint
create table accounts (id bigint primary key, n text);
--
alter table accounts rename constraint accounts_pkey to customers_pkey;
== drop table
create table accounts (id bigint primary key, n text);
--
drop table accounts;
== drop table if exists cascade
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint references users);
--
drop table if exists users cascade;
== drop and make a table again
create table accounts (id bigint primary key, n text);
--
drop table accounts; create table accounts (id bigint primary key, n text); create index on accounts (n);
== drop schema cascade
create schema app; create table app.accounts (id bigint primary key, n text);
--
drop schema app cascade;
== truncate
create table accounts (id bigint primary key, n text);
--
truncate table accounts;
== truncate cascade
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint references users);
--
truncate users cascade;
== delete all
create table accounts (id bigint primary key, n text);
--
delete from accounts;
== update all
create table accounts (id bigint primary key, n text);
--
update accounts set n = 'x';
== update and alter in one transaction
create table accounts (id bigint primary key, n text);
--
begin; update accounts set n = 'x' where n is null; alter table accounts alter column n set default 'x'; commit;
== insert from select into a new table
create table accounts (id bigint primary key, n text);
--
create table copy (id bigint primary key, n text); insert into copy select * from accounts;
== create table as
create table accounts (id bigint primary key, n text);
--
create table copy as select * from accounts; create index on copy (id);
== select into
create table accounts (id bigint primary key, n text);
--
select * into copy from accounts; alter table copy add primary key (id);
== create table like
create table accounts (id bigint primary key, n text);
--
create table copy (like accounts including all); alter table copy add column m serial;
== temporary table
create table accounts (id bigint primary key, n text);
--
create temporary table tmp (id int); create index on tmp (id); drop table tmp;
== attach partition without a check
create table logs (id bigint, at date) partition by range (at); create table logs_1 (id bigint, at date);
--
alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== attach partition with a check
create table logs (id bigint, at date) partition by range (at); create table logs_1 (id bigint, at date, constraint c check (at >= '2020-01-01' and at < '2021-01-01' and at is not null));
--
alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== attach a new partition
create table logs (id bigint, at date) partition by range (at);
--
create table logs_1 (id bigint, at date); alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== attach a partition beside a default one
create table logs (id bigint, at date) partition by range (at); create table logs_rest partition of logs default; create table logs_1 (id bigint, at date);
--
alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== create a partition
create table logs (id bigint, at date) partition by range (at);
--
create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
== create a partition beside a default one
create table logs (id bigint, at date) partition by range (at); create table logs_rest partition of logs default;
--
create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
== detach partition
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
alter table logs detach partition logs_1;
== detach partition concurrently
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
alter table logs detach partition logs_1 concurrently;
== attach an index to a partitioned index
create table logs (id bigint, at date) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01'); create index i on only logs (at); create index i_1 on logs_1 (at);
--
alter index i attach partition i_1;
== partitioned table made with its partitions and indexes
--
create table logs (id bigint, at date not null, primary key (id, at)) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01'); create index on logs (at);
== create trigger
create table accounts (id bigint primary key); create function f() returns trigger language plpgsql as 'begin return new; end';
--
create trigger touch before update on accounts for each row execute function f();
== function and trigger
create table accounts (id bigint primary key, updated_at timestamptz);
--
create or replace function touch() returns trigger language plpgsql as $$ begin new.updated_at := now(); return new; end $$;
create trigger touch before update on accounts for each row execute function touch();
== drop trigger
create table accounts (id bigint primary key); create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger touch before update on accounts for each row execute function f();
--
drop trigger touch on accounts;
== disable trigger
create table accounts (id bigint primary key); create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger touch before update on accounts for each row execute function f();
--
alter table accounts disable trigger touch;
== enable row level security
create table accounts (id bigint primary key);
--
alter table accounts enable row level security; create policy p on accounts using (true);
== create view
create table accounts (id bigint primary key);
--
create view v as select id from accounts;
== replace view
create table accounts (id bigint primary key); create view v as select id from accounts;
--
create or replace view v as select id, 1 as one from accounts;
== drop view
create table accounts (id bigint primary key); create view v as select id from accounts;
--
drop view v;
== view dropped and made again around a change of type
create table accounts (id int primary key); create view v as select id from accounts;
--
drop view v; alter table accounts alter column id type bigint; create view v as select id from accounts;
== create materialized view
create table accounts (id bigint primary key);
--
create materialized view m as select count(*) from accounts;
== enum value added
create type mood as enum ('sad');
--
alter type mood add value 'ok';
== enum value added if not exists before
create type mood as enum ('sad');
--
alter type mood add value if not exists 'ok' before 'sad';
== enum value renamed
create type mood as enum ('sad');
--
alter type mood rename value 'sad' to 'blue';
== enum value added, used later
create type mood as enum ('sad'); create table accounts (id bigint primary key, mood mood);
--
alter type mood add value 'ok'; commit; alter table accounts alter column mood set default 'ok';
== domain constraint added
create domain email as text; create table accounts (id bigint primary key, mail email);
--
alter domain email add constraint has_at check (value like '%@%');
== domain constraint added not valid
create domain email as text; create table accounts (id bigint primary key, mail email);
--
alter domain email add constraint has_at check (value like '%@%') not valid;
== domain set not null
create domain email as text; create table accounts (id bigint primary key, mail email);
--
alter domain email set not null;
== domain default
create domain email as text; create table accounts (id bigint primary key, mail email);
--
alter domain email set default 'x';
== composite type attribute added
create type pair as (a int); create table accounts (id bigint primary key, p pair);
--
alter type pair add attribute b int;
== composite type attribute changed
create type pair as (a int);
--
alter type pair alter attribute a type bigint;
== sequence changed
create sequence s; create table accounts (id bigint primary key default nextval('s'));
--
alter sequence s increment by 10;
== sequence widened
create table accounts (id serial primary key);
--
alter sequence accounts_id_seq as bigint;
== sequence owned
create sequence s; create table accounts (id bigint primary key);
--
alter sequence s owned by accounts.id;
== setval
create table accounts (id serial primary key);
--
select setval('accounts_id_seq', 100);
== comment
create table accounts (id bigint primary key);
--
comment on table accounts is 'x'; comment on column accounts.id is 'y';
== grant and revoke
create table accounts (id bigint primary key);
--
grant select on accounts to public; revoke select on accounts from public;
== create extension
--
create extension if not exists pgcrypto;
== create schema and table
--
create schema if not exists app; create table app.things (id serial primary key); create index on app.things (id);
== create function only
create table accounts (id bigint primary key);
--
create function wipe() returns void language plpgsql as $$ begin truncate accounts; end $$;
== statistics object
create table accounts (id bigint primary key, a int, b int);
--
create statistics st on a, b from accounts;
== replica identity
create table accounts (id bigint primary key, a int);
--
alter table accounts replica identity full;
== replica identity using index
create table accounts (id bigint primary key, a int);
--
alter table accounts replica identity using index accounts_pkey;
== cluster on
create table accounts (id bigint primary key, a int);
--
alter table accounts cluster on accounts_pkey;
== inherit
create table base (id bigint); create table derived (id bigint);
--
alter table derived inherit base;
== lock table
create table accounts (id bigint primary key, a int);
--
begin; lock table accounts in access exclusive mode; alter table accounts add column b int; commit;
== rule
create table accounts (id bigint primary key, a int);
--
create rule r as on delete to accounts do instead nothing;
== block: add column if missing, missing
create table accounts (id bigint primary key);
--
do $$ begin
  if not exists (select 1 from information_schema.columns where table_name = 'accounts' and column_name = 'email') then
    alter table accounts add column email text;
  end if;
end $$;
== block: volatile column if missing, missing
create table accounts (id bigint primary key);
--
do $$ begin
  if not exists (select 1 from information_schema.columns where table_name = 'accounts' and column_name = 'token') then
    alter table accounts add column token uuid default gen_random_uuid();
  end if;
end $$;
== block: index if missing, there
create table accounts (id bigint primary key, email text); create index accounts_email on accounts (email);
--
do $$ begin
  if not exists (select 1 from pg_indexes where indexname = 'accounts_email') then
    create index accounts_email on accounts (email);
  end if;
end $$;
== block: index if missing, missing
create table accounts (id bigint primary key, email text);
--
do $$ begin
  if not exists (select 1 from pg_indexes where indexname = 'accounts_email') then
    create index accounts_email on accounts (email);
  end if;
end $$;
== block: constraint if missing, there
create table accounts (id bigint primary key, n int constraint n_ok check (n > 0));
--
do $$ begin
  if not exists (select 1 from pg_constraint where conname = 'n_ok') then
    alter table accounts add constraint n_ok check (n > 0);
  end if;
end $$;
== block: constraint if missing, missing
create table accounts (id bigint primary key, n int);
--
do $$ begin
  if not exists (select 1 from pg_constraint where conname = 'n_ok') then
    alter table accounts add constraint n_ok check (n > 0);
  end if;
end $$;
== block: type changes if it is still the old one
create table accounts (id int primary key);
--
do $$ begin
  if (select data_type from information_schema.columns where table_name = 'accounts' and column_name = 'id') = 'integer' then
    alter table accounts alter column id type bigint;
  end if;
end $$;
== block: type changes unless it is the new one already
create table accounts (id bigint primary key);
--
do $$ begin
  if (select data_type from information_schema.columns where table_name = 'accounts' and column_name = 'id') = 'integer' then
    alter table accounts alter column id type bigint;
  end if;
end $$;
== block: execute of a literal
create table accounts (id bigint primary key, email text);
--
do $$ begin execute 'create index on accounts (email)'; end $$;
== block: execute of a harmless literal
create table accounts (id bigint primary key, email text);
--
do $$ begin execute 'alter table accounts add column x int'; end $$;
== block: execute format
create table accounts (id bigint primary key, email text);
--
do $$ begin execute format('alter table %I alter column %I set not null', 'accounts', 'email'); end $$;
== block: loop over tables
create table a_one (id bigint primary key); create table a_two (id bigint primary key);
--
do $$ declare r record; begin
  for r in select tablename from pg_tables where schemaname = 'public' and tablename like 'a\_%' loop
    execute format('alter table %I add column if not exists created_at timestamptz default now()', r.tablename);
  end loop;
end $$;
== block: loop over tables with a heavy act
create table a_one (id bigint primary key); create table a_two (id bigint primary key);
--
do $$ declare r record; begin
  for r in select tablename from pg_tables where schemaname = 'public' and tablename like 'a\_%' loop
    execute format('alter table %I add column token uuid default gen_random_uuid()', r.tablename);
  end loop;
end $$;
== block: loop over nothing
create table accounts (id bigint primary key);
--
do $$ declare r record; begin
  for r in select tablename from pg_tables where schemaname = 'public' and tablename like 'zz\_%' loop
    execute format('alter table %I add column token uuid default gen_random_uuid()', r.tablename);
  end loop;
end $$;
== block: only a notice
--
do $$ begin raise notice 'hello'; end $$;
== block: rename column if there
create table accounts (id bigint primary key, mail text);
--
do $$ begin
  if exists (select 1 from information_schema.columns where table_name = 'accounts' and column_name = 'mail') then
    alter table accounts rename column mail to email;
  end if;
end $$;
== block: create type once
--
do $$ begin create type mood as enum ('sad', 'ok'); exception when duplicate_object then null; end $$;
== block: update in batches
create table accounts (id bigint primary key, n int);
--
do $$ declare done int; begin
  loop
    update accounts set n = 0 where id in (select id from accounts where n is null limit 1000);
    get diagnostics done = row_count;
    exit when done = 0;
  end loop;
end $$;
== function that changes a type, called
create table accounts (id int primary key); create function widen() returns void language plpgsql as $$ begin alter table accounts alter column id type bigint; end $$;
--
select widen();
== function made and called
create table accounts (id bigint primary key, email text);
--
create function tmp_migrate() returns void language plpgsql as $$ begin alter table accounts alter column email set not null; end $$;
select tmp_migrate();
drop function tmp_migrate();
== procedure called
create table accounts (id bigint primary key, email text); create procedure build() language plpgsql as $$ begin create index on accounts (email); end $$;
--
call build();
== prisma: create table and foreign key
create table "User" ("id" serial not null, "email" text not null, constraint "User_pkey" primary key ("id"));
--
-- CreateTable
CREATE TABLE "Post" ("id" SERIAL NOT NULL, "title" TEXT NOT NULL, "authorId" INTEGER NOT NULL, CONSTRAINT "Post_pkey" PRIMARY KEY ("id"));
-- CreateIndex
CREATE UNIQUE INDEX "Post_title_key" ON "Post"("title");
-- AddForeignKey
ALTER TABLE "Post" ADD CONSTRAINT "Post_authorId_fkey" FOREIGN KEY ("authorId") REFERENCES "User"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
== prisma: alter and index
create table "User" ("id" serial not null, "email" text not null, constraint "User_pkey" primary key ("id"));
--
-- AlterTable
ALTER TABLE "User" ADD COLUMN "handle" TEXT;
-- CreateIndex
CREATE UNIQUE INDEX "User_handle_key" ON "User"("handle");
== prisma: column made anew
create table "User" ("id" serial not null, "age" text, constraint "User_pkey" primary key ("id"));
--
ALTER TABLE "User" DROP COLUMN "age", ADD COLUMN "age" INTEGER;
== prisma: type of several columns
create table "User" ("id" serial not null, "a" timestamp(3) not null, "b" text, constraint "User_pkey" primary key ("id"));
--
ALTER TABLE "User" ALTER COLUMN "a" DROP DEFAULT, ALTER COLUMN "a" SET DATA TYPE TIMESTAMPTZ(3), ALTER COLUMN "b" SET DATA TYPE VARCHAR(200);
== prisma: enum replaced
create type "Role" as enum ('A', 'B', 'C'); create table "User" ("id" serial primary key, "role" "Role" not null default 'A');
--
BEGIN;
CREATE TYPE "Role_new" AS ENUM ('A', 'B');
ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT;
ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new" USING ("role"::text::"Role_new");
ALTER TYPE "Role" RENAME TO "Role_old";
ALTER TYPE "Role_new" RENAME TO "Role";
DROP TYPE "Role_old";
ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT 'A';
COMMIT;
== prisma: table redefined
create table "Tag" ("id" text primary key);
--
ALTER TABLE "Tag" DROP CONSTRAINT "Tag_pkey", ADD COLUMN "slug" TEXT NOT NULL, ADD CONSTRAINT "Tag_pkey" PRIMARY KEY ("id", "slug");
== prisma: primary key dropped and added
create table "Tag" ("id" text not null, "n" int not null, constraint "Tag_pkey" primary key ("id"));
--
ALTER TABLE "Tag" DROP CONSTRAINT "Tag_pkey", ADD CONSTRAINT "Tag_pkey" PRIMARY KEY ("id", "n");
== prisma: foreign key replaced
create table "User" ("id" serial primary key); create table "Post" ("id" serial primary key, "userId" int, constraint "Post_userId_fkey" foreign key ("userId") references "User" ("id"));
--
ALTER TABLE "Post" DROP CONSTRAINT "Post_userId_fkey";
ALTER TABLE "Post" ADD CONSTRAINT "Post_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"("id") ON DELETE SET NULL ON UPDATE CASCADE;
== rails: add reference with an index
create table users (id bigserial primary key); create table posts (id bigserial primary key);
--
ALTER TABLE "posts" ADD "user_id" bigint; CREATE INDEX "index_posts_on_user_id" ON "posts" ("user_id"); ALTER TABLE "posts" ADD CONSTRAINT "fk_rails_1" FOREIGN KEY ("user_id") REFERENCES "users" ("id");
== django: add field with default and drop it
create table app_thing (id serial primary key);
--
BEGIN;
ALTER TABLE "app_thing" ADD COLUMN "kind" varchar(20) DEFAULT 'a' NOT NULL;
ALTER TABLE "app_thing" ALTER COLUMN "kind" DROP DEFAULT;
COMMIT;
== django: foreign key deferrable
create table app_user (id serial primary key); create table app_thing (id serial primary key, user_id int);
--
BEGIN;
ALTER TABLE "app_thing" ADD CONSTRAINT "app_thing_user_fk" FOREIGN KEY ("user_id") REFERENCES "app_user" ("id") DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX "app_thing_user" ON "app_thing" ("user_id");
COMMIT;
== django: field with a foreign key at once
create table app_user (id serial primary key); create table app_thing (id serial primary key);
--
ALTER TABLE "app_thing" ADD COLUMN "user_id" integer NULL CONSTRAINT "app_thing_user_fk" REFERENCES "app_user"("id") DEFERRABLE INITIALLY DEFERRED; SET CONSTRAINTS "app_thing_user_fk" IMMEDIATE;
== supabase: table with policies
--
create table public.profiles (id uuid primary key, name text); alter table public.profiles enable row level security; create policy "own" on public.profiles for select using (true); create index on public.profiles (name);
== lock timeout set
create table accounts (id bigint primary key, email text);
--
set lock_timeout = '1s'; set statement_timeout = '5s'; alter table accounts add column x int;
== search path set
create schema app; create table app.accounts (id bigint primary key, email text);
--
set search_path to app; create index on accounts (email);
== search path set, new table
create schema app; create table app.accounts (id bigint primary key, email text);
--
set search_path to app; create table fresh (id int); create index on fresh (id);
== only on an inheritance parent
create table base (id int); create table derived () inherits (base);
--
alter table only base add constraint c check (id > 0) no inherit;
== alter a view's default
create table accounts (id bigint primary key, n text); create view v as select * from accounts;
--
alter view v alter column n set default 'x';
== alter foreign key deferrable
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint constraint fk references users);
--
alter table posts alter constraint fk deferrable initially deferred;
== alter type and set default in one
create table accounts (id bigint primary key, n int default 0);
--
alter table accounts alter column n drop default, alter column n type boolean using n <> 0, alter column n set default false;
== alter type of two columns, both free
create table accounts (id bigint primary key, a varchar(10), b varchar(10));
--
alter table accounts alter column a type varchar(20), alter column b type text;
== alter table if exists that does not
--
alter table if exists nowhere add column x uuid default gen_random_uuid();
== drop column if exists that does not
create table accounts (id bigint primary key);
--
alter table accounts drop column if exists nothing;
== backfill, then not null
create table accounts (id bigint primary key, n int);
--
update accounts set n = 0 where n is null; alter table accounts alter column n set not null; alter table accounts alter column n set default 0;
== new column, backfill, drop the old
create table accounts (id bigint primary key, n text);
--
alter table accounts add column m integer; update accounts set m = n::integer; alter table accounts drop column n; alter table accounts rename column m to n;
== savepoints
create table accounts (id bigint primary key, n text);
--
begin; savepoint a; alter table accounts add column x int; release savepoint a; commit;
== two tables, an index each
create table a (id bigint primary key, n text); create table b (id bigint primary key, n text);
--
create index concurrently a_n on a (n); create index concurrently b_n on b (n);
== concurrently with if not exists
create table accounts (id bigint primary key, n text);
--
CREATE INDEX CONCURRENTLY IF NOT EXISTS "accounts_n" ON "accounts" ("n");
== unique on a new table, later
--
create table fresh (id bigint primary key, n text); create unique index fresh_n on fresh (n); alter table fresh add constraint fresh_n_key unique using index fresh_n;
== unlogged new table
--
create unlogged table fresh (id bigint primary key); alter table fresh set logged;
== insert rows
create table accounts (id bigint primary key, n text);
--
insert into accounts (id, n) values (1, 'a'), (2, 'b') on conflict do nothing;
== user's own type of a column of a composite
create type pair as (a int, b text); create table accounts (id bigint primary key, p pair);
--
alter table accounts alter column p type text using p::text;
== oid to bigint
create table accounts (id bigint primary key, o oid);
--
alter table accounts alter column o type bigint;
== bit widened
create table accounts (id bigint primary key, b bit varying(5));
--
alter table accounts alter column b type bit varying(9);
== time to timetz
create table accounts (id bigint primary key, t time);
--
alter table accounts alter column t type timetz;
== money to numeric
create table accounts (id bigint primary key, m money);
--
alter table accounts alter column m type numeric(12, 2);
== xml to text
create table accounts (id bigint primary key, x xml);
--
alter table accounts alter column x type text;
== text to name
create table accounts (id bigint primary key, x text);
--
alter table accounts alter column x type name;
== add default partition
create table logs (id bigint, at date) partition by range (at);
--
create table logs_rest partition of logs default;
== partition with an index of its own
create table logs (id bigint, at date) partition by range (at); create index on logs (id);
--
create table logs_1 (like logs including all); alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== attach an old table where the parent has an index
create table logs (id bigint, at date) partition by range (at); create index on logs (id); create table logs_1 (id bigint, at date);
--
alter table logs attach partition logs_1 for values from ('2020-01-01') to ('2021-01-01');
== volatile column on a parent of children
create table base (id int); create table derived () inherits (base);
--
alter table base add column u uuid default gen_random_uuid();
== unique on a partitioned table
create table logs (id bigint, at date not null) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
alter table logs add constraint logs_key unique (id, at);
== foreign key from a partitioned table
create table users (id bigint primary key); create table logs (id bigint, at date not null) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01');
--
alter table logs add constraint logs_user foreign key (id) references users (id);
== foreign key to a partitioned table
create table logs (id bigint, at date not null, primary key (id, at)) partition by range (at); create table logs_1 partition of logs for values from ('2020-01-01') to ('2021-01-01'); create table refs (id bigint, at date);
--
alter table refs add constraint refs_log foreign key (id, at) references logs (id, at);
== type change that a view stands on
create table accounts (id bigint primary key, n varchar(10)); create view v as select id from accounts;
--
alter table accounts alter column n type varchar(30);
== generated column's base widened
create table accounts (id bigint primary key, a varchar(5), g text generated always as (upper(a)) stored);
--
alter table accounts alter column id type bigint;
== extension that brings nothing heavy
create table accounts (id bigint primary key, n text);
--
create extension if not exists pg_trgm; create index accounts_n_trgm on accounts using gin (n gin_trgm_ops);
== drop extension cascade takes a column
create extension citext; create table accounts (id bigint primary key, n citext);
--
drop extension citext cascade;
== drop type cascade
create type mood as enum ('sad'); create table accounts (id bigint primary key, m mood);
--
drop type mood cascade;
== trigger function replaced
create function f() returns trigger language plpgsql as 'begin return new; end';
--
create or replace function f() returns trigger language plpgsql as 'begin new.x := 1; return new; end';
== alter default privileges
--
alter default privileges in schema public grant select on tables to public;
== alter database setting
--
alter role postgres set statement_timeout = '1min';
== check not valid and validated, no transaction around them
create table accounts (id bigint primary key, age int);
--
alter table accounts add constraint age_positive check (age >= 0) not valid; alter table accounts validate constraint age_positive;
== foreign key not valid and validated, no transaction around them
create table users (id bigint primary key); create table posts (id bigint primary key, user_id bigint);
--
alter table posts add constraint posts_user_fk foreign key (user_id) references users (id) not valid; alter table posts validate constraint posts_user_fk;
== table made, committed, then indexed
--
begin; create table fresh (id int, n text); commit; begin; create index on fresh (n); alter table fresh alter column id set not null; commit;
== table made, indexed concurrently, then altered
--
create table fresh (id int, n text); create index concurrently on fresh (n); alter table fresh alter column id type bigint;
== one name in two schemas, the new one indexed
create schema app; create table accounts (id int, n text);
--
create table app.accounts (id int, n text); create index on app.accounts (n);
== one name in two schemas, the old one indexed
create schema app; create table app.accounts (id int, n text); create table accounts (id int, n text);
--
create index on app.accounts (n);
== two foreign keys between the same tables
create table users (id bigint primary key); create table posts (id bigint primary key, a bigint, b bigint);
--
begin; alter table posts add foreign key (a) references users not valid; alter table posts add foreign key (b) references users; commit;
== unlogged table made logged again
create unlogged table accounts (id int); alter table accounts set logged;
--
alter table accounts set logged;
== tx start transaction end
create table a (id bigint primary key, n text);
--
start transaction; alter table a alter n set not null; end;
== tx commit first
create table a (id bigint primary key, n text);
--
commit; create index on a (n);
== tx commit and chain-like
create table a (id bigint primary key, n text);
--
begin; alter table a add column x int; commit; begin; alter table a add constraint c check (x > 0); commit;
== def timezone utc
create table a (id bigint primary key);
--
alter table a add column t timestamp default timezone('utc', now());
== def parenthesised
create table a (id bigint primary key);
--
alter table a add column t int not null default (1 + 2) * 3;
== def date_trunc
create table a (id bigint primary key);
--
alter table a add column t timestamptz default date_trunc('day', now());
== def to_char
create table a (id bigint primary key);
--
alter table a add column t text default to_char(now(), 'YYYY');
== def random int
create table a (id bigint primary key);
--
alter table a add column t int default floor(random() * 10)::int;
== def current_user
create table a (id bigint primary key);
--
alter table a add column t text default current_user;
== def concat
create table a (id bigint primary key);
--
alter table a add column t text default 'x' || 'y';
== def transaction_timestamp
create table a (id bigint primary key);
--
alter table a add column t timestamptz default transaction_timestamp();
== def localtimestamp
create table a (id bigint primary key);
--
alter table a add column t timestamp default localtimestamp(3);
== def range
create table a (id bigint primary key);
--
alter table a add column t tstzrange default tstzrange(now(), null);
== def make_interval
create table a (id bigint primary key);
--
alter table a add column t interval default make_interval(days => 3);
== def gen_random_bytes
create extension if not exists pgcrypto; create table a (id bigint primary key);
--
alter table a add column t bytea default gen_random_bytes(8);
== def encode random bytes
create extension if not exists pgcrypto; create table a (id bigint primary key);
--
alter table a add column t text default encode(gen_random_bytes(8), 'hex');
== def uuid v1mc
create extension if not exists "uuid-ossp"; create table a (id bigint primary key);
--
alter table a add column t uuid default uuid_generate_v1mc();
== def uuid nil
create extension if not exists "uuid-ossp"; create table a (id bigint primary key);
--
alter table a add column t uuid default uuid_nil();
== def txid
create table a (id bigint primary key);
--
alter table a add column t bigint default txid_current();
== def null serial-like
create sequence s; create table a (id bigint primary key);
--
alter table a add column t bigint; alter table a alter column t set default nextval('s');
== add identity then pk
create table a (n text);
--
alter table a add column id int generated always as identity; alter table a add primary key (id);
== add check on new column separately
create table a (id bigint primary key);
--
alter table a add column n int, add constraint c check (n > 0);
== add column not null default then unique
create table a (id bigint primary key);
--
alter table a add column n text not null default 'x', add constraint u unique (id, n);
== drop column used by index
create table a (id bigint primary key, n text); create index on a (n);
--
alter table a drop column n;
== rename column and index
create table a (id bigint primary key, n text);
--
alter table a rename column n to m; create index on a (m);
== rename then type
create table a (id bigint primary key, n varchar(5));
--
alter table a rename column n to m; alter table a alter column m type varchar(9);
== set schema then index
create schema app; create table a (id bigint primary key, n text);
--
alter table a set schema app; create index on app.a (n);
== set schema then type free
create schema app; create table a (id bigint primary key, n varchar(4));
--
alter table a set schema app; alter table app.a alter column n type text;
== temp table shadowing
create table a (id bigint primary key, n text);
--
create temp table a (id int, n text); create index on a (n);
== view then alter
create table a (id bigint primary key, n text);
--
create view v as select * from a; alter view v rename to w; drop view w;
== partition detach then index
create table p (id bigint, at date) partition by range (at); create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
--
alter table p detach partition p1; create index on p1 (id);
== partition drop
create table p (id bigint, at date) partition by range (at); create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
--
drop table p1;
== partition add column not null default
create table p (id bigint, at date) partition by range (at); create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
--
alter table p add column x int not null default 3;
== partition add pk
create table p (id bigint not null, at date not null) partition by range (at); create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
--
alter table p add primary key (id, at);
== partition set not null
create table p (id bigint, at date) partition by range (at); create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
--
alter table p alter column id set not null;
== partition attach not valid check
create table p (id bigint, at date) partition by range (at); create table p1 (id bigint, at date); alter table p1 add constraint c check (at >= '2020-01-01' and at < '2021-01-01' and at is not null) not valid;
--
alter table p attach partition p1 for values from ('2020-01-01') to ('2021-01-01');
== partition attach with other check
create table p (id bigint, at date) partition by range (at); create table p1 (id bigint, at date, check (id > 0));
--
alter table p attach partition p1 for values from ('2020-01-01') to ('2021-01-01');
== partition attach validate first
create table p (id bigint, at date) partition by range (at); create table p1 (id bigint, at date);
--
alter table p1 add constraint c check (at >= '2020-01-01' and at < '2021-01-01' and at is not null) not valid;
commit;
alter table p1 validate constraint c;
commit;
alter table p attach partition p1 for values from ('2020-01-01') to ('2021-01-01');
== partition list attach
create table p (id bigint, k text) partition by list (k); create table p1 (id bigint, k text not null check (k = 'a'));
--
alter table p attach partition p1 for values in ('a');
== domain set default drop
create domain d as int default 1; create table a (x d);
--
alter domain d drop default;
== domain validate
create domain d as int; create table a (x d); alter domain d add constraint c check (value > 0) not valid;
--
alter domain d validate constraint c;
== domain type add as table column with default null
create domain d as int check (value > 0); create table a (id int);
--
alter table a add column x d default null;
== domain not null column
create domain d as int not null; create table a (id int);
--
alter table a add column x d default 3;
== array of domain
create domain d as int check (value > 0); create table a (id int);
--
alter table a add column x d[] default '{1}';
== composite with domain
create domain d as int check (value > 0); create type c as (x d); create table a (id int);
--
alter table a add column x c;
== enum add then use in same tx
create type m as enum ('a'); create table a (x m);
--
alter type m add value if not exists 'b'; alter table a add column y m default 'a';
== exclude on new table
create extension if not exists btree_gist;
--
create table a (id int, r int4range, exclude using gist (id with =, r with &&));
== index on expression of new column
create table a (id int);
--
alter table a add column doc jsonb not null default '{}'; create index a_doc on a using gin (doc jsonb_path_ops);
== statistics target then analyze
create table a (id int, n text);
--
alter table a alter column n set statistics 1000; analyze a;
== cluster all-like named
create table a (id int primary key, n text); cluster a using a_pkey;
--
cluster a;
== reindex database
create table a (id int primary key, n text);
--
vacuum (full, analyze) a;
== vacuum full verbose
create table a (id int primary key, n text);
--
VACUUM FULL VERBOSE a;
== alter index set
create table a (id int primary key, n text); create index i on a (n);
--
alter index i set (fillfactor = 70);
== alter table set autovacuum
create table a (id int primary key, n text);
--
alter table a set (autovacuum_vacuum_scale_factor = 0.01);
== alter system like
create table a (id int primary key, n text);
--
alter table a alter column n set (n_distinct = 100);
== alter type owner
create type m as enum ('a');
--
alter type m owner to postgres;
== add fk self reference
create table a (id int primary key, parent int);
--
alter table a add constraint f foreign key (parent) references a (id);
== add fk new column self
create table a (id int primary key);
--
alter table a add column parent int references a (id);
== fk in same alter as column
create table b (id int primary key); create table a (id int primary key);
--
alter table a add column b_id int, add constraint f foreign key (b_id) references b (id);
== fk in same alter as not null default column
create table b (id int primary key); create table a (id int primary key);
--
alter table a add column b_id int not null default 0, add constraint f foreign key (b_id) references b (id) not valid;
== drop constraint add constraint check
create table a (id int primary key, n int constraint c check (n > 0));
--
alter table a drop constraint c, add constraint c check (n >= 0);
== drop constraint add not valid
create table a (id int primary key, n int constraint c check (n > 0));
--
alter table a drop constraint c, add constraint c check (n >= 0) not valid;
== pk using index concurrently ladder
create table a (id int not null, n int);
--
create unique index concurrently a_id on a (id);
alter table a add constraint a_pkey primary key using index a_id;
== replace pk
create table a (id int primary key, u uuid not null); create unique index a_u on a (u);
--
begin; alter table a drop constraint a_pkey; alter table a add constraint a_pkey primary key using index a_u; commit;
== trigger function do nothing and update
create table a (id int primary key, n int);
--
update a set n = 1; create index concurrently a_n on a (n);
== create table partition of with index
create table p (id bigint primary key) partition by range (id);
--
create table p1 partition of p for values from (0) to (10); create table p2 partition of p for values from (10) to (20);
== create table as with no data
create table a (id int primary key, n int);
--
create table b as table a with no data; create unique index on b (id);
== create matview concurrently refreshed in same file
create table a (id int primary key, n int);
--
create materialized view m as select id from a; create unique index m_id on m (id); refresh materialized view concurrently m;
== drop matview cascade
create table a (id int primary key, n int); create materialized view m as select id from a;
--
drop materialized view m; create materialized view m as select id, n from a; create unique index on m (id);
== generated column dropped and added
create table a (id int primary key, n int, g int generated always as (n * 2) stored);
--
alter table a drop column g; alter table a add column g int generated always as (n * 3) stored;
== update through function
create table a (id int primary key, n int); create function f() returns void language sql as 'update a set n = 1';
--
select f();
== create index if not exists quoted schema
create schema "My App"; create table "My App"."T" (id int, "N" text);
--
CREATE INDEX IF NOT EXISTS "T_N" ON "My App"."T" ("N");
== execute concat
create table a (id int primary key, n int);
--
do $$ declare t text := 'a'; begin execute 'alter table ' || t || ' alter column n type bigint'; end $$;
== block with case and exists false
create table a (id int primary key, n int);
--
do $$ begin if exists (select from pg_tables where tablename = 'zzz') then alter table a alter column n type bigint; end if; end $$;
== block with exists true
create table a (id int primary key, n int);
--
do $$ begin if exists (select from pg_tables where tablename = 'a') then alter table a alter column n type bigint; end if; end $$;
== block with version check
create table a (id int primary key, n int);
--
do $$ begin if current_setting('server_version_num')::int >= 120000 then alter table a alter column n type bigint; end if; end $$;
== block with count
create table a (id int primary key, n int);
--
do $$ begin if (select count(*) from a) = 0 then alter table a alter column n type bigint; end if; end $$;
== block with false condition on rows
create table a (id int primary key, n int);
--
do $$ begin if (select count(*) from a) > 1000 then alter table a alter column n type bigint; end if; end $$;
== block with to_regclass
create table a (id int primary key, n int);
--
do $$ begin if to_regclass('public.zzz') is not null then alter table zzz alter column n type bigint; end if; end $$;
== block not exists enum value
create type m as enum ('a');
--
do $$ begin if not exists (select 1 from pg_enum e join pg_type t on t.oid = e.enumtypid where t.typname = 'm' and e.enumlabel = 'b') then alter type m add value 'b'; end if; end $$;
== search path with a new schema first
create table users (id int);
--
create schema fresh; set search_path = fresh, public; create table users (id int); create index on users (id);
== using a cast chain that relabels
create table t (a varchar(5));
--
alter table t alter a type text using a::varchar::text;
== using a cast to another length
create table t (a varchar(5));
--
alter table t alter a type text using a::varchar(3);
== using collate
create table t (a text);
--
alter table t alter a type text collate "C" using a collate "C";
== domain not null
create domain d1 as text not null; create table t (a text);
--
alter table t alter a type d1;
== column of a domain with a volatile default of its own
create domain d1 as uuid default gen_random_uuid(); create table t (id int);
--
alter table t add column a d1;
== function made stable by alter function
create function tenant() returns text language plpgsql as $$ begin return 'x'; end $$; create table t (id int);
--
alter function tenant() stable; alter table t add column a text default tenant();
== overloaded function, the volatile one
create function k(a int) returns int stable language plpgsql as $$ begin return 1; end $$; create function k(a text) returns int volatile language plpgsql as $$ begin return 1; end $$; create table t (id int);
--
alter table t add column a int default k('5'::text);
== nextval in an expression
create sequence s; create table t (id int);
--
alter table t add column code text default 'A' || nextval('s')::text;
== generated stored of two columns, with an index
create table t (a text, b text);
--
alter table t add column full_name text generated always as (a || ' ' || b) stored; create index on t (full_name);
== referenced key widened
create table p (id int primary key); create table c (id int, p_id int references p);
--
alter table p alter id type bigint; 
== varchar to text with expression index
create table t (a varchar(10)); create index on t (lower(a));
--
alter table t alter a type text;
== varchar to text with a partial index
create table t (a varchar(10), b int); create index on t (b) where a = 'x';
--
alter table t alter a type text;
== timestamptz zone is GMT
create table t (a timestamp);
--
set timezone = 'GMT'; alter table t alter a type timestamptz;
== timezone in a do block
create table t (a timestamp);
--
do $$ begin perform set_config('timezone', 'UTC', true); alter table t alter a type timestamptz; end $$;
== not null of a row check
create table t (a int, b int, constraint c check (row(a, b) is not null));
--
alter table t alter a set not null;
== not null of a check with or
create table t (a int, b int, constraint c check (a is not null or b is not null));
--
alter table t alter a set not null;
== not null proven by a check added in the same statement
create table t (a int);
--
alter table t add constraint c check (a is not null), alter a set not null;
== swap of tables, the old one indexed
create table t (a int);
--
create table t_new (a bigint); alter table t rename to t_old; alter table t_new rename to t; create index on t_old (a);
== schema renamed
create schema s; create table s.t (a int);
--
alter schema s rename to r; create index on r.t (a);
== schema renamed, new one under its name
create schema s; create table s.t (a int);
--
alter schema s rename to r; create schema s; create table s.t (a int); create index on s.t (a);
== column renamed then altered
create table t (a int, b varchar(5));
--
alter table t rename a to c; alter table t rename b to a; alter table t alter a type text;
== index if not exists with the name of another kind of thing
create table t (a int); create view i as select 1;
--
create index if not exists i on t (a);
== attach as the only and default partition
create table p (id int not null) partition by range (id); create table old (id int not null);
--
alter table p attach partition old default;
== attach a partition to a table with a foreign key
create table q (id int primary key); create table p (id int, q int references q) partition by range (id); create table old (id int, q int, check (id >= 0 and id < 10 and id is not null));
--
alter table p attach partition old for values from (0) to (10);
== block over information_schema, some there
create table t (a int, tenant_id int);
--
do $$ declare r record; begin for r in select table_name from information_schema.columns where column_name = 'tenant_id' and table_schema = 'public' loop execute format('create index on %I (tenant_id)', r.table_name); end loop; end $$;
== block with an early return
create table t (a int);
--
do $$ begin if exists (select 1 from pg_class where relname = 't') then return; end if; create index on t (a); end $$;
== reindex concurrently in parentheses
create table t (a int primary key);
--
reindex (concurrently) table t;
== view and matview of it made anew
create table a (x int); create view v as select x from a; create materialized view m as select x from v;
--
drop view if exists v cascade;
create view v as select x, x * 2 as y from a;
create materialized view m as select * from v;
create unique index m_x on m (x);
== block asks the constraint with its table
create table a (x int, constraint a_check check (x > 0));
--
do $$ begin
  if not exists (select 1 from pg_constraint c join pg_class t on t.oid = c.conrelid where c.conname = 'a_check' and t.relname = 'a') then
    alter table a add constraint a_check check (x > 0);
  end if;
end $$;
== block loop over the tables of a schema, indexes
create schema tenant_1; create table tenant_1.a (x int);
--
do $$ declare s text; begin
  for s in select nspname from pg_namespace where nspname like 'tenant_%' loop
    execute format('create index if not exists a_x on %I.a (x)', s);
  end loop;
end $$;
== index renamed and its table widened
create table a (x varchar(10)); create index a_x on a (x) where x <> '';
--
alter index a_x rename to a_x_live; alter table a alter x type varchar(40);
== partitioning an existing table by rename
create table ev (id int not null, at date not null);
--
begin;
alter table ev rename to ev_legacy;
create table ev (id int not null, at date not null) partition by range (at);
alter table ev attach partition ev_legacy for values from (minvalue) to ('2025-01-01');
create table ev_2025 partition of ev for values from ('2025-01-01') to ('2026-01-01');
commit;
