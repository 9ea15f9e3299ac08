//! Killed in each gap of a swap, and of taking a capture away: by SIGKILL, in a process of its own.

use super::rig::{Rig, Who};
use super::workload::{SCHEMA, Workload, judge};
use dbd::domain::connection::ConnectionUrl;
use dbd::ports::boundary::{Boundary, Drill, arm};
use dbd::ports::capture::{CaptureOrder, Captures, SwapStanding, Way};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

const WHAT: &str = "DBD_TEST_CAPTURE";

/// Runs `swap` or `end` in another process that is killed in its gap number `at`; whether it came to its end.
pub async fn in_a_process(rig: &Rig, what: &str, at: u64, log: &Path) -> bool {
    let order = serde_json::json!({
        "url": rig.url.expose(), "capture": rig.capture, "what": what, "at": at, "log": log,
    });
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "capture::killed::the_other_process", "--ignored", "--nocapture"]);
    let output = command.env(WHAT, order.to_string()).output().await.unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(
        killed || output.status.success(),
        "{what} was not killed and failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    !killed
}

#[tokio::test]
#[ignore = "not a test: what the others start"]
#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
async fn the_other_process() {
    let Ok(order) = std::env::var(WHAT) else { return };
    let order: serde_json::Value = serde_json::from_str(&order).unwrap();
    let url = ConnectionUrl::parse(order["url"].as_str().unwrap()).unwrap();
    let rig = Rig::of(url, serde_json::from_value(order["capture"].clone()).unwrap());
    let log = order["log"].as_str().map(Into::into);
    arm(Drill { at: order["at"].as_u64(), log });
    match order["what"].as_str() {
        Some("swap") => {
            rig.swap(None).await.unwrap();
        }
        _ => rig.end().await,
    }
}

async fn killed_everywhere(way: Way, who: Who) {
    let rig = Rig::new(way, who, SCHEMA).await;
    let before = rig.fingerprint().await;
    let load = Workload::start(&rig.url, 2);
    load.more(30).await;
    rig.start().await.unwrap();
    rig.shadow().await.unwrap();
    load.more(30).await;
    rig.migrate(super::MIGRATION).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("gaps");
    let mut swapped = false;
    for at in 1..30 {
        load.more(10).await;
        let whole = in_a_process(&rig, "swap", at, &log).await;
        // Open again by itself, before anybody resumes: clients write on.
        load.more(5).await;
        let effect = rig.effect("swap");
        let fenced = rig.captures.fence(&rig.url, &rig.capture, &effect).await.unwrap();
        let order = CaptureOrder { url: &rig.url, capture: &rig.capture, effect: &effect };
        let standing = rig.captures.standing(&order, &fenced).await.unwrap();
        assert!(!whole || matches!(standing, SwapStanding::Swapped { .. }), "{standing:?}");
        if matches!(standing, SwapStanding::Swapped { .. }) {
            swapped = true;
            break;
        }
    }
    assert!(swapped);
    load.more(10).await;
    let told = load.stop().await;
    let client = rig.client().await;
    assert_eq!(judge(&client, &told).await, (vec![], vec![], vec![]));
    rig.settle().await;
    assert_eq!(rig.fingerprint().await, before);
    for at in 1..20 {
        if in_a_process(&rig, "end", at, &log).await {
            break;
        }
    }
    assert!(rig.is_clean().await);
    let hit: BTreeSet<String> = fs_err::read_to_string(&log)
        .unwrap()
        .lines()
        .filter_map(|line| line.split('\t').nth(1).map(str::to_owned))
        .collect();
    let missed: Vec<&str> =
        Boundary::OF_CAPTURE.iter().map(|gap| gap.name()).filter(|name| !hit.contains(*name)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "nobody was killed there");
}

#[tokio::test]
async fn killed_in_each_gap_by_triggers_nothing_is_lost() {
    killed_everywhere(Way::Triggers, Who::Owner).await;
}

#[tokio::test]
async fn killed_in_each_gap_by_a_slot_nothing_is_lost() {
    killed_everywhere(Way::Slot, Who::Superuser).await;
}
