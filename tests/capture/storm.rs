//! Many swaps under load, half of them killed on the way, and swaps of large databases: for `docs/benchmarks.md`.
//!
//! ```text
//! DBD_TEST_FSYNC=on cargo test --test main -- --ignored --nocapture --exact capture::storm::fifty_ways_back
//! DBD_TEST_FSYNC=on DBD_STORM_MB=100,1000 cargo test --test main -- --ignored --nocapture --exact capture::storm::of_any_size
//! ```

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement that is run by hand")]

use super::killed::in_a_process;
use super::rig::{Rig, Who};
use super::workload::{SCHEMA, Workload, judge};
use dbd::ports::capture::{CaptureOrder, Captures, SwapStanding, Way};
use std::time::Instant;

/// What is gone back from, in turns.
const MIGRATIONS: [&str; 2] = [
    super::MIGRATION,
    "alter table acked alter n type numeric; alter table things add column extra int default 7; update things set c = 'zz' where id % 2 = 0; \
     alter table parents drop constraint parents_name_key; alter table scratch rename column t to u; alter type mood add value 'fair'",
];

fn median(mut all: Vec<u64>) -> (u64, u64, u64) {
    all.sort_unstable();
    (all.first().copied().unwrap_or(0), all.get(all.len() / 2).copied().unwrap_or(0), all.last().copied().unwrap_or(0))
}

#[tokio::test]
#[ignore = "takes many minutes"]
async fn fifty_ways_back() {
    let runs: u64 = std::env::var("DBD_STORM_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let folder = tempfile::tempdir().unwrap();
    let (mut acked, mut lost, mut invented, mut wrong, mut killed) = (0, 0, 0, 0, 0);
    let mut fences = Vec::new();
    for run in 0..runs {
        let way = if run % 2 == 0 { Way::Triggers } else { Way::Slot };
        let who = if run / 2 % 2 == 0 { Who::Superuser } else { Who::Owner };
        let migration = MIGRATIONS[usize::try_from(run / 4 % 2).unwrap()];
        let mut rig = Rig::new(way, who, SCHEMA).await;
        // As a deployment has it.
        rig.proof_budget = std::time::Duration::from_secs(1);
        let load = Workload::start(&rig.url, 3);
        load.more(20).await;
        rig.start().await.unwrap();
        rig.shadow().await.unwrap();
        load.more(40).await;
        rig.migrate(migration).await;
        load.more(60).await;
        if run % 4 >= 2 {
            // A gap that depends on nothing but the number of the run.
            for at in [run % 8 + 1, run / 3 % 8 + 1] {
                let whole = in_a_process(&rig, "swap", at, &folder.path().join("gaps")).await;
                killed += u64::from(!whole);
                let effect = rig.effect("swap");
                let fenced = rig.captures.fence(&rig.url, &rig.capture, &effect).await.unwrap();
                let order = CaptureOrder { url: &rig.url, capture: &rig.capture, effect: &effect };
                if let SwapStanding::Swapped { .. } = rig.captures.standing(&order, &fenced).await.unwrap() {
                    break;
                }
                load.more(10).await;
            }
        }
        let swapped = rig.swap(None).await.unwrap_or_else(|failure| panic!("run {run}, {way:?}, {who:?}: {failure:?}"));
        if swapped.fence_ms > 0 {
            fences.push(swapped.fence_ms);
        }
        load.more(20).await;
        let told = load.stop().await;
        let client = rig.client().await;
        let (gone, made, odd) = judge(&client, &told).await;
        acked += told.acked.len();
        lost += gone.len();
        invented += made.len();
        wrong += odd.len();
        println!(
            "run {run}: {way:?} {who:?}, {} acknowledged, {} lost, {} invented, {odd:?}, {swapped:?}",
            told.acked.len(),
            gone.len(),
            made.len()
        );
        println!("  {}", rig.steps.borrow().join(", "));
        rig.end().await;
        let effect = rig.effect("forget");
        let order = CaptureOrder { url: &rig.url, capture: &rig.capture, effect: &effect };
        rig.captures.forget(&order).await.unwrap();
    }
    println!(
        "{runs} ways back: {acked} commits acknowledged, {lost} lost, {invented} invented, {wrong} sums wrong; killed {killed} times; \
         closed for {:?} ms (least, median, most)",
        median(fences)
    );
    assert_eq!((lost, invented, wrong), (0, 0, 0));
}

#[tokio::test]
#[ignore = "takes many minutes and a few GB of disk"]
async fn of_any_size() {
    let sizes = std::env::var("DBD_STORM_MB").unwrap_or_else(|_| "100,1000".to_owned());
    for megabytes in sizes.split(',').map(|text| text.parse::<u64>().unwrap()) {
        for way in [Way::Triggers, Way::Slot] {
            let mut rig = Rig::new(way, Who::Superuser, SCHEMA).await;
            rig.proof_budget = std::time::Duration::from_secs(1);
            let client = rig.client().await;
            client
                .batch_execute(&format!(
                    "create table bulk (id bigint primary key, filler text); \
                     insert into bulk select n, repeat(md5(n::text), 6) from generate_series(1, {}) n",
                    megabytes * 4_000
                ))
                .await
                .unwrap_or_else(|error| panic!("{error:?}"));
            client.batch_execute("vacuum analyze bulk").await.unwrap();
            let size: i64 = client.query_one("select pg_database_size(current_database())", &[]).await.unwrap().get(0);
            let load = Workload::start(&rig.url, 3);
            let begun = Instant::now();
            rig.start().await.unwrap();
            let start = begun.elapsed();
            rig.shadow().await.unwrap();
            let shadow = begun.elapsed() - start;
            rig.migrate("alter table bulk add column more int; alter table accounts rename balance to funds; \
                create or replace function audited() returns trigger language plpgsql as $$ \
                begin insert into audit (account, was, became) values (new.id, old.funds, new.funds); return new; end $$").await;
            load.more(200).await;
            let failed = Instant::now();
            let swapped = rig.swap(None).await.unwrap();
            let back = failed.elapsed();
            load.more(50).await;
            let told = load.stop().await;
            let client = rig.client().await;
            let (lost, invented, odd) = judge(&client, &told).await;
            println!(
                "{} MB, {way:?}: capture {start:.1?}, dump and shadow {shadow:.1?}, swap {back:.1?}, closed {} ms, {} of {} touched rows compared, \
                 {} acknowledged, {} lost, {} invented, {odd:?}",
                size / 1_000_000,
                swapped.fence_ms,
                swapped.proven,
                swapped.touched,
                told.acked.len(),
                lost.len(),
                invented.len()
            );
            println!("  {}", rig.steps.borrow().join(", "));
            assert!(lost.is_empty() && invented.is_empty() && odd.is_empty());
            rig.end().await;
            let effect = rig.effect("forget");
            let order = CaptureOrder { url: &rig.url, capture: &rig.capture, effect: &effect };
            rig.captures.forget(&order).await.unwrap();
            drop(client);
            let admin = rig.admin("postgres").await;
            admin.batch_execute(&format!("drop database {} with (force)", rig.capture.database)).await.unwrap();
        }
    }
}

/// What a capture costs the writers: pgbench with none, with triggers, with a slot that only keeps, and with a shadow that is caught up meanwhile.
#[tokio::test]
#[ignore = "takes some minutes"]
async fn what_a_capture_costs() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seconds, scale) =
        (number("DBD_STORM_ROUNDS", 3), number("DBD_STORM_SECONDS", 8), number("DBD_STORM_SCALE", 8));
    let mut found: std::collections::BTreeMap<&str, Vec<f64>> = std::collections::BTreeMap::new();
    let rig = Rig::new(Way::Triggers, Who::Superuser, "").await;
    crate::support::pg::program(
        "pgbench",
        &["--initialize", "--quiet", "--scale", &scale.to_string(), &rig.capture.database],
    );
    let mut slot = rig.capture.clone();
    slot.way = Way::Slot;
    let by_slot = Rig::of(rig.url.clone(), slot);
    let bench = || {
        let mut command = tokio::process::Command::new(crate::support::pg::server().bin.join("pgbench"));
        command.arg("--host").arg(&crate::support::pg::server().socket).args(["--username", "postgres"]);
        command.args([
            "--no-vacuum",
            "--protocol",
            "prepared",
            "--client",
            "4",
            "--jobs",
            "2",
            "--time",
            &seconds.to_string(),
        ]);
        command.arg(&rig.capture.database);
        async move {
            let output = command.output().await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
            tps.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
        }
    };
    for _ in 0..rounds {
        found.entry("none").or_default().push(bench().await);
        rig.start().await.unwrap();
        found.entry("triggers").or_default().push(bench().await);
        rig.end().await;
        by_slot.start().await.unwrap();
        found.entry("slot").or_default().push(bench().await);
        by_slot.end().await;
        for (name, rig) in [("triggers, replayed", &rig), ("slot, replayed", &by_slot)] {
            rig.start().await.unwrap();
            rig.shadow().await.unwrap();
            let mut running = std::pin::pin!(bench());
            let tps = loop {
                let replay = async {
                    rig.catch_up().await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                };
                tokio::select! { tps = &mut running => break tps, () = replay => {} }
            };
            found.entry(name).or_default().push(tps);
            rig.end().await;
        }
    }
    let none = found["none"].clone();
    for (name, tps) in &found {
        let mut ratios: Vec<f64> = tps.iter().zip(&none).map(|(one, none)| one / none).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{name}: {:.2} of without ({ratios:.2?}), {tps:.0?} tps", ratios[ratios.len() / 2]);
    }
}
