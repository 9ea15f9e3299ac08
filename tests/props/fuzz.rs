//! Whatever people hand over as a folder of migrations is read or refused, and never ends the program.
//!
//! Files of every format are hurt in ways that text is hurt: bits flipped, cut off, pieces of others put in, pieces repeated. A few thousand
//! of them are part of every run; `DBD_FUZZ_SECONDS=600 cargo test --release --test main -- props::fuzz` goes on for ten minutes, from a
//! seed that is printed.

use dbd::domain::hazard::facts::Facts;
use dbd::domain::hazard::{judge, rules};
use dbd::domain::migration::{Folder, formats};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::time::{Duration, Instant};

/// What the files of the formats hold beside SQL, as their tools write it.
const BESIDE: &[(&str, &str)] = &[
    (
        "meta/_journal.json",
        r#"{"version":"7","dialect":"postgresql","entries":[{"idx":0,"version":"7","when":1712345678901,"tag":"0000_a","breakpoints":true}]}"#,
    ),
    ("0000_a.sql", "create table a (id int);\n--> statement-breakpoint\ncreate index i on a (id);"),
    ("20240102030405_b/migration.sql", "create table b (id serial);\n--> statement-breakpoint\nselect 1;"),
    ("migration_lock.toml", "provider = \"postgresql\"\n"),
    ("V1__first.sql", "create table ${schema}.f (id int);"),
    ("V1.2__second.sql", "insert into f values ('${x}');"),
    ("R__again.sql", "create or replace view v as select 1;"),
    ("U1__undo.sql", "drop table f;"),
    ("flyway.conf", "flyway.table=x\nflyway.placeholders.schema=public\n"),
    (
        "20240101000000_d.sql",
        "-- migrate:up transaction:false\ncreate index concurrently i on d (id);\n\n-- migrate:down\ndrop index i;",
    ),
    (
        "00001_g.sql",
        "-- +goose Up\n-- +goose StatementBegin\nselect 1;\n-- +goose StatementEnd\n-- +goose Down\nselect 2;",
    ),
    ("1_m.up.sql", "create table m (id int);"),
    ("1_m.down.sql", "drop table m;"),
    (
        "sqitch.plan",
        "%syntax-version=1.0.0\n%project=p\n\nfirst 2024-01-01T00:00:00Z A <a@example.com> # note\nsecond [first !third] 2024-01-02T00:00:00Z A <a@example.com> # note\n@v1 2024-01-03T00:00:00Z A <a@example.com> # tag\n",
    ),
    ("deploy/first.sql", "-- Deploy p:first to pg\nbegin;\nselect 1;\ncommit;"),
    ("revert/first.sql", "begin;\nselect 1;\ncommit;"),
    (
        "2024_x.sql",
        "-- no-transaction\n-- dbd: batch size=5000 pause=100ms\nupdate t set a = 1 where b = 2;\n-- dbd: allow rewrite reason=known\n",
    ),
];

/// Bytes that mean something to somebody.
const TELLING: &[&[u8]] = &[
    b"'",
    b"\"",
    b"$$",
    b"$a$",
    b";",
    b"--",
    b"/*",
    b"*/",
    b"(",
    b")",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"begin;",
    b"commit;",
    b"do $$ begin ",
    b" end $$;",
    b"e'\\",
    b"u&'",
    b"as $f$",
    b"-- +goose ",
    b"-- migrate:",
    b"--> statement-breakpoint",
    b"${",
    b":'v'",
    b"99999999999999999999",
    b"-1",
    b"\xf0\x9f\x98\x80",
    b"copy t from stdin;\n",
    b"\\.\n",
    b"\\i x\n",
];

struct Hurting(TestRng);

impl Hurting {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % end.max(1)
    }

    fn hurt(&mut self, whole: &[&[u8]], bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let (place, length) = (self.below(bytes.len() + 1), self.below(40));
            let end = (place + length).min(bytes.len());
            match self.below(7) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 => bytes.truncate(place),
                2 => drop(bytes.drain(place..end)),
                3 => {
                    let piece = bytes[place..end].to_vec();
                    let times = 1 + self.below(200);
                    drop(bytes.splice(place..place, piece.repeat(times)));
                }
                4 => {
                    let other = whole[self.below(whole.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(120)).min(other.len());
                    drop(bytes.splice(place..end, other[from..to].iter().copied()));
                }
                _ => drop(bytes.splice(place..place, TELLING[self.below(TELLING.len())].iter().copied())),
            }
        }
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "whoever runs it says how long, and is told what was done"
)]
fn no_folder_of_hurt_files_ends_the_program() {
    let seconds: Option<u64> = std::env::var("DBD_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let mut seed = [7; 32];
    if seconds.is_some() {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        seed[..16].copy_from_slice(&now.to_le_bytes());
    }
    let mut hurting = Hurting(TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let sqls = rules::ALL.iter().flat_map(|rule| [rule.setup, rule.bad, rule.good]).filter(|sql| !sql.is_empty());
    let whole: Vec<&[u8]> = sqls.chain(BESIDE.iter().map(|(_, text)| *text)).map(str::as_bytes).collect();
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut folders, mut read, mut judged) = (0_u64, 0_u64, 0_u64);
    while until.map_or(folders < 2_000, |until| Instant::now() < until) {
        let mut folder = Folder::default();
        for _ in 0..=hurting.below(4) {
            let (name, text) = BESIDE[hurting.below(BESIDE.len())];
            let mut bytes = if name.ends_with(".sql") && hurting.below(2) == 0 {
                whole[hurting.below(whole.len())].to_vec()
            } else {
                text.as_bytes().to_vec()
            };
            if hurting.below(8) != 0 {
                hurting.hurt(&whole, &mut bytes);
            }
            folder.files.insert(name.to_owned(), bytes);
        }
        folders += 1;
        for format in formats() {
            let _ = format.detect(&folder);
            let Ok(set) = format.read(&folder) else { continue };
            read += 1;
            assert!(set.migrations.len() <= folder.files.len() * 4, "{seed:?}, folder {folders}");
        }
        for bytes in folder.files.values() {
            let Ok(text) = std::str::from_utf8(bytes) else { continue };
            judged += 1;
            for one in judge::migration(&mut Facts::of_text(), "1.sql", text, true).judgements {
                assert!(one.line >= 1 && one.column >= 1, "{seed:?}, folder {folders}: {one:?}");
            }
        }
    }
    // A fuzzer that reads nothing finds nothing.
    assert!(read > folders && judged > folders, "{folders} folders, {read} read, {judged} judged");
    if until.is_some() {
        println!("{folders} folders, read {read} times by a format, {judged} files judged; seed {seed:?}");
    }
}
