//! Going back without losing a row: on a real server, under load, killed on the way.

mod killed;
mod rig;
mod storm;
mod traps;
mod workload;

use dbd::ports::capture::Way;
use rig::{Rig, Who, contents};
use workload::{COMPARED, SCHEMA, Workload, judge};

/// Renames, drops, adds, rewrites, makes a table anew under its old name.
const MIGRATION: &str = "
alter table accounts rename column balance to funds;
alter table accounts drop column legacy, add column currency text default 'EUR';
create or replace function audited() returns trigger language plpgsql as $$
begin insert into audit (account, was, became) values (new.id, old.funds, new.funds); return new; end $$;
alter table audit alter column account type numeric;
update accounts set note = upper(note);
create table scratch_new (t text, id bigint primary key, more int default 5);
insert into scratch_new (t, id) select t, id from scratch;
drop table scratch;
alter table scratch_new rename to scratch;
create table brand_new (id int);
create index on log (client, n);
";

/// The whole way: capture, shadow, migrate, swap, while clients write; nothing is lost and nothing invented.
async fn there_and_back(way: Way, who: Who) {
    let rig = Rig::new(way, who, SCHEMA).await;
    let before = rig.fingerprint().await;
    let load = Workload::start(&rig.url, 3);
    load.more(50).await;
    rig.start().await.unwrap();
    assert_eq!(rig.fingerprint().await, before, "a capture shows in the schema");
    load.more(50).await;
    let shadow = rig.shadow().await.unwrap();
    assert!(shadow.rows > 0);
    load.more(100).await;
    rig.migrate(MIGRATION).await;
    let expected = rig.fingerprint().await;
    load.more(100).await;
    let backlog = rig.catch_up().await.unwrap();
    assert_eq!(backlog.blocked, None);
    assert!(backlog.transactions > 0, "{backlog:?}");
    load.more(100).await;
    let swapped = rig.swap(Some(&expected)).await.unwrap();
    load.more(50).await;
    let told = load.stop().await;
    assert!(swapped.proven > 0, "{swapped:?}");
    assert_eq!(rig.fingerprint().await, before, "the old shape is back, its foreign keys checked");

    let client = rig.client().await;
    assert_eq!(judge(&client, &told).await, (vec![], vec![], vec![]));
    assert_eq!(rig.settle().await, Vec::<String>::new());
    rig.end().await;
    assert!(rig.is_clean().await);
}

/// Without load, so that both databases can be held side by side: every row that was written is the same, in every type there is.
async fn the_same_on_both_sides(way: Way) {
    let rig = Rig::new(way, Who::Superuser, SCHEMA).await;
    rig.start().await.unwrap();
    rig.shadow().await.unwrap();
    let load = Workload::start(&rig.url, 3);
    load.more(150).await;
    rig.migrate(MIGRATION).await;
    load.more(150).await;
    load.stop().await;
    rig.swap(None).await.unwrap();
    let admin = rig.admin("postgres").await;
    let failed = rig.capture.failed();
    admin.batch_execute(&format!("alter database {failed} with allow_connections true")).await.unwrap();
    let (gone, back) = (rig.client_of(&failed).await.unwrap(), rig.client().await);
    let (gone, back) = (contents(&gone, COMPARED).await, contents(&back, COMPARED).await);
    for (table, rows) in &gone {
        assert_eq!(Some(rows), back.get(table), "{table}");
    }
    let idle = gone.iter().filter(|(table, rows)| rows.is_empty() && *table != "scratch");
    assert_eq!(idle.count(), 0, "a table nobody wrote to");
    rig.end().await;
}

#[tokio::test]
async fn every_row_is_the_same_on_both_sides_by_triggers() {
    the_same_on_both_sides(Way::Triggers).await;
}

#[tokio::test]
async fn every_row_is_the_same_on_both_sides_by_a_slot() {
    the_same_on_both_sides(Way::Slot).await;
}

/// The control: going back to the copy as it was made forgets what was written since, and the judge sees it.
#[tokio::test]
async fn a_copy_that_is_not_caught_up_loses_what_was_written() {
    let rig = Rig::new(Way::Triggers, Who::Superuser, SCHEMA).await;
    rig.start().await.unwrap();
    let load = Workload::start(&rig.url, 2);
    load.more(30).await;
    rig.shadow().await.unwrap();
    load.more(60).await;
    let told = load.stop().await;
    let stale = rig.client_of(&rig.capture.shadow()).await.unwrap();
    let (lost, invented, _) = judge(&stale, &told).await;
    assert!(lost.len() >= 60 && invented.is_empty(), "{} lost, {} invented", lost.len(), invented.len());
    drop(stale);
    rig.end().await;
}

#[tokio::test]
async fn nothing_is_lost_by_triggers_as_superuser() {
    there_and_back(Way::Triggers, Who::Superuser).await;
}

#[tokio::test]
async fn nothing_is_lost_by_triggers_as_a_plain_owner() {
    there_and_back(Way::Triggers, Who::Owner).await;
}

#[tokio::test]
async fn nothing_is_lost_by_a_slot_as_superuser() {
    there_and_back(Way::Slot, Who::Superuser).await;
}

#[tokio::test]
async fn nothing_is_lost_by_a_slot_as_a_plain_owner() {
    there_and_back(Way::Slot, Who::Owner).await;
}
