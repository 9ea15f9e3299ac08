//! The stories that are killed: small projects on real databases, what is done to them, and what they have to be like in the end.

use super::table::Row;
use crate::support::project::{Event, Kept, Output, Project};
use dbd::ports::boundary::Boundary;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a story's target has to be like in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Deployed, each step once.
    Whole,
    /// As it was before.
    Back,
    /// As it was before, with what somebody else wrote meanwhile.
    Kept,
    /// Untouched, whatever was asked for.
    Untouched,
}

/// A story: what is told before, the command that is killed, and what has to come of it.
pub struct Story {
    /// Its name on the page.
    pub name: &'static str,
    /// What it is about, for the page.
    pub about: &'static str,
    /// Makes the project.
    pub project: fn() -> Project,
    /// Commands that come before, each with the status it ends with; `{run}` is the newest run.
    pub before: &'static [(&'static str, i32)],
    /// A command after those that was killed as well, in the first gap of that name about that thing: then the one that resumes is killed.
    pub killed_before: Option<(&'static str, &'static str, &'static str)>,
    /// The command that is killed.
    pub killed: &'static str,
    /// Commands that go on afterwards, besides `resume`: the one that was killed, where it may have come to nothing.
    pub again: &'static [&'static str],
    /// Which gaps are worth a kill; the others are those of another story.
    pub gaps: fn(&[(String, String)]) -> Vec<usize>,
    /// What has to come of it.
    pub end: End,
}

/// One gap of one story.
pub struct Case {
    pub story: &'static Story,
    /// The gap's number, from 1.
    pub at: usize,
    /// Its name and what it is about.
    pub gap: (String, String),
}

fn every(gaps: &[(String, String)]) -> Vec<usize> {
    (1..=gaps.len()).collect()
}

/// The number of the first gap that is `name` about `about`.
fn first(gaps: &[(String, String)], name: &str, about: &str) -> usize {
    let first = gaps.iter().position(|gap| gap.0 == name && gap.1 == about);
    first.unwrap_or_else(|| panic!("{name} {about} is not passed: {gaps:?}")) + 1
}

/// The gaps up to the plan, of a run that goes on after it.
fn up_to_the_plan(gaps: &[(String, String)]) -> Vec<usize> {
    (1..=first(gaps, "after append", "run.planned")).collect()
}

/// The gaps from the failed verification on; those before it are a deployment's.
fn from_the_failure(gaps: &[(String, String)]) -> Vec<usize> {
    (first(gaps, "child ended", "the verification")..=gaps.len()).collect()
}

/// The gaps that only a capture and a swap have.
fn of_a_capture(gaps: &[(String, String)]) -> Vec<usize> {
    let names: Vec<&str> = Boundary::OF_CAPTURE.iter().map(|boundary| boundary.name()).collect();
    (1..=gaps.len()).filter(|at| names.contains(&gaps[at - 1].0.as_str())).collect()
}

fn of_the_sandbox(gaps: &[(String, String)]) -> Vec<usize> {
    (1..=gaps.len()).filter(|at| gaps[at - 1].0.starts_with("sandbox")).collect()
}

/// The gaps around appends of the kinds that no other story appends.
fn appends(kinds: &[&str], gaps: &[(String, String)]) -> Vec<usize> {
    let wanted = |gap: &(String, String)| gap.0.ends_with("append") && kinds.contains(&gap.1.as_str());
    (1..=gaps.len()).filter(|at| wanted(&gaps[at - 1])).collect()
}

/// Whether a kill in the gap `at` can show what one in an earlier gap cannot: between an append and the next one nothing is done to the world
/// if there is no gap between them, and one step of the rehearsal is like another.
fn tells_more(gaps: &[(String, String)], at: usize) -> bool {
    let (here, earlier) = (&gaps[at - 1], &gaps[..at - 1]);
    let nothing_between = here.0 == "before append" && earlier.last().is_some_and(|gap| gap.0 == "after append");
    let again = here.1 == "sandbox" && earlier.contains(here);
    !nothing_between && !again
}

/// A target with two things in it, and sandboxes on the test server: cheap to make.
fn small() -> Project {
    let mut project = Project::empty();
    project.with_sandboxes_on_the_server();
    project
        .sql("create table things (id int primary key, name text); insert into things values (1, 'one'), (2, 'two')");
    project
}

/// Three steps, one of them outside a transaction; tests and a verification that agree.
pub fn deploys() -> Project {
    let project = small();
    project
        .migration("0001_first", "create table steps (id int);\ninsert into steps values (1);\n")
        .migration("0002_units", "insert into steps values (2);\ncreate index concurrently steps_id on steps (id);\n")
        .config("[tests]\ncommand = 'true'\n[environments.dev]\nverify = { command = 'true' }\n");
    project
}

fn deploys_with_a_scratch_server() -> Project {
    let project = Project::empty();
    project
        .sql("create table things (id int primary key, name text); insert into things values (1, 'one'), (2, 'two')");
    project
        .migration("0001_first", "create table steps (id int);\ninsert into steps values (1);\n")
        .migration("0002_units", "insert into steps values (2);\ncreate index concurrently steps_id on steps (id);\n");
    project
}

/// The ways back that are open.
const IN_PLACE: &str = "";
const BY_SWAP: &str = "[rollback]\nin_place = false\n";
const BY_THE_BACKUP: &str = "[rollback]\nin_place = false\ncapture = 'off'\n";

fn goes_back_in_place() -> Project {
    goes_back(IN_PLACE)
}

fn goes_back_by_swap() -> Project {
    goes_back(BY_SWAP)
}

fn goes_back_by_the_backup() -> Project {
    goes_back(BY_THE_BACKUP)
}

/// One step, by somebody's leave; a verification that somebody else writes during, and that fails. They come as themselves: their command
/// line shows no password to the test that looks for one in all of them.
fn goes_back(ways: &str) -> Project {
    let project = small();
    let server = crate::support::pg::server();
    let psql = format!(
        "{} --host {} --username {} --dbname {}",
        server.bin.join("psql").display(),
        server.socket.display(),
        crate::support::pg::USER,
        project.database
    );
    project.migration("0001_first", "create table steps (id int);\nupdate things set name = name || '!';\n").config(&format!(
        "{ways}[environments.dev]\napproval = true\nverify = {{ command = '{psql} -qc \"insert into things values (3) on conflict do nothing\"; exit 1' }}\n"
    ));
    project
}

/// As [`deploys`], by somebody's leave.
fn deploys_by_leave() -> Project {
    let project = deploys();
    project.config("[tests]\ncommand = 'true'\n[environments.dev]\napproval = true\nverify = { command = 'true' }\n");
    project
}

/// Three steps, by somebody's leave.
pub fn asks_first() -> Project {
    let project = deploys();
    project.config("[environments.dev]\napproval = true\n");
    project
}

/// Every story.
pub const STORIES: &[Story] = &[
    Story {
        name: "a deployment, up to its plan",
        about: "three steps, one outside a transaction; the tests agree",
        project: deploys,
        before: &[],
        killed_before: None,
        killed: "start dev",
        again: &["start dev"],
        gaps: up_to_the_plan,
        end: End::Whole,
    },
    Story {
        name: "a deployment, from its plan",
        about: "the same, approved; the verification agrees",
        project: deploys_by_leave,
        before: APPROVED,
        killed_before: None,
        killed: "resume {run}",
        again: &[],
        gaps: every,
        end: End::Whole,
    },
    Story {
        name: "a scratch server",
        about: "the same with a server of its own as the sandbox",
        project: deploys_with_a_scratch_server,
        before: &[],
        killed_before: None,
        killed: "start dev",
        again: &[],
        gaps: of_the_sandbox,
        end: End::Whole,
    },
    Story {
        name: "a way back in place",
        about: "the verification fails, and somebody wrote meanwhile: what they wrote stays",
        project: goes_back_in_place,
        before: APPROVED,
        killed_before: None,
        killed: "resume {run}",
        again: &[],
        gaps: from_the_failure,
        end: End::Kept,
    },
    Story {
        name: "a way back by a swap",
        about: "the same, by a copy that everything written is replayed into",
        project: goes_back_by_swap,
        before: APPROVED,
        killed_before: None,
        killed: "resume {run}",
        again: &[],
        gaps: of_a_capture,
        end: End::Kept,
    },
    Story {
        name: "a way back by the backup",
        about: "the same, asked for, as rows are lost: they are dumped, then the backup is restored",
        project: goes_back_by_the_backup,
        before: HALTED,
        killed_before: None,
        killed: "rollback {run} --restore --yes",
        again: &["rollback {run} --restore --yes"],
        gaps: every,
        end: End::Back,
    },
    Story {
        name: "a rollback that was asked for",
        about: "of a finished run",
        project: deploys,
        before: &[("start dev", 0)],
        killed_before: None,
        killed: "rollback {run} --yes",
        again: &["rollback {run} --yes"],
        gaps: |gaps| appends(&["rollback.requested"], gaps),
        end: End::Back,
    },
    Story {
        name: "an approval",
        about: "of a plan that waits for it",
        project: asks_first,
        before: &[("start dev", 75)],
        killed_before: None,
        killed: "approve {run}",
        again: &["approve {run}"],
        gaps: every,
        end: End::Whole,
    },
    Story {
        name: "a pause",
        about: "for an approval, which comes later",
        project: asks_first,
        before: &[],
        killed_before: None,
        killed: "start dev",
        again: &["resume {run}", "approve {run}"],
        gaps: |gaps| appends(&["run.paused"], gaps),
        end: End::Whole,
    },
    Story {
        name: "a rejection",
        about: "of a plan that waits for an approval",
        project: asks_first,
        before: &[("start dev", 75)],
        killed_before: None,
        killed: "reject {run}",
        again: &["reject {run}"],
        gaps: every,
        end: End::Untouched,
    },
    Story {
        name: "a cancellation",
        about: "of a run that waits for an approval",
        project: asks_first,
        before: &[("start dev", 75)],
        killed_before: None,
        killed: "cancel {run}",
        again: &["cancel {run}"],
        gaps: |gaps| appends(&["run.cancel_requested"], gaps),
        end: End::Untouched,
    },
    Story {
        name: "a dry run",
        about: "that ends with its plan",
        project: deploys,
        before: &[],
        killed_before: None,
        killed: "start dev --dry-run",
        again: &[],
        gaps: |gaps| appends(&["run.rehearsed"], gaps),
        end: End::Untouched,
    },
    Story { killed_before: Some(("start dev", "dump named", "")), ..TWICE },
    Story { killed_before: Some(("start dev", "sandbox created", "configured server")), ..TWICE },
    Story { killed_before: Some(("start dev", "ledger row written", "target")), ..TWICE },
    Story { killed_before: Some(("start dev", "alone done", "target")), ..TWICE },
    Story {
        project: goes_back_by_the_backup,
        before: HALTED,
        killed_before: Some(("rollback {run} --restore --yes", "child ended", "psql")),
        end: End::Back,
        ..TWICE
    },
];

/// A run with a plan that may be carried out.
/// A run that would lose rows on its way back.
const HALTED: &[(&str, i32)] = &[("start dev", 75), ("approve {run}", 0), ("resume {run}", 5)];

/// A run that may begin.
const APPROVED: &[(&str, i32)] = &[("start dev", 75), ("approve {run}", 0)];

/// A run that was killed, and the process that resumes it is killed too, until it is past what the first one left.
const TWICE: Story = Story {
    name: "a resume",
    about: "of a run that was killed already",
    project: deploys,
    before: &[],
    killed_before: None,
    killed: "resume --last",
    again: &[],
    gaps: until_settled,
    end: End::Whole,
};

/// The gaps until the verdict on what was under way is recorded, and a few more.
fn until_settled(gaps: &[(String, String)]) -> Vec<usize> {
    let verdict = gaps.iter().position(|gap| gap.0 == "after append" && gap.1 == "step.reconciled");
    (1..=gaps.len().min(verdict.expect("something was under way") + 4)).collect()
}

/// A project in which everything up to the command that is killed has happened, kept so that it can be had again.
pub struct Desk {
    story: &'static Story,
    project: Project,
    kept: Kept,
    made: Instant,
}

/// A run that is resumed later than this makes a new backup, which is another story.
const FRESH: Duration = Duration::from_secs(240);

impl Desk {
    /// The project as it was when it was kept.
    fn again(&mut self) -> &Project {
        if self.made.elapsed() > FRESH {
            *self = self.story.desk();
        } else {
            self.project.put_back(&self.kept);
        }
        &self.project
    }
}

impl Story {
    /// Makes the project and does what comes before.
    pub fn desk(&'static self) -> Desk {
        let project = (self.project)();
        self.lead_up(&project);
        if let Some((command, name, about)) = self.killed_before {
            let at = self.first_kill(command, name, about);
            let (output, passed) = project.drill(Some(at), &words(&project, command));
            let here = passed.last().is_some_and(|gap| gap.0 == name && gap.1 == about);
            assert!(output.code.is_none() && here, "{} was not killed at {name} {about}: {output:?}", self.title());
        }
        let kept = project.keep();
        Desk { story: self, project, kept, made: Instant::now() }
    }

    fn lead_up(&self, project: &Project) {
        for (command, status) in self.before {
            run(project, command).expect(*status);
        }
    }

    /// The number of the gap of the first kill; each command of each project is looked through once.
    fn first_kill(&self, command: &'static str, name: &str, about: &str) -> usize {
        type Gaps = Vec<(String, String)>;
        static KNOWN: Mutex<BTreeMap<(usize, &str), Gaps>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap();
        let gaps = known.entry((self.project as *const () as usize, command)).or_insert_with(|| {
            let project = (self.project)();
            self.lead_up(&project);
            project.drill(None, &words(&project, command)).1
        });
        first(gaps, name, about)
    }

    /// Its name, with where it was killed before.
    pub fn title(&self) -> String {
        match self.killed_before {
            None => self.name.to_owned(),
            Some((_, name, "")) => format!("{} after a kill at \"{name}\"", self.name),
            Some((_, name, about)) => format!("{} after a kill at \"{name}, {about}\"", self.name),
        }
    }

    /// The gaps that this story is killed in.
    pub fn cases(&'static self, desk: &mut Desk) -> Vec<Case> {
        let project = desk.again();
        let (output, gaps) = project.drill(None, &words(project, self.killed));
        assert!(output.code.is_some() && !gaps.is_empty(), "{}: {output:?}", self.title());
        let expected = match self.end {
            End::Whole => [0, 75],
            End::Back | End::Kept => [4, 0],
            End::Untouched => [0, 3],
        };
        assert!(output.code.is_some_and(|code| expected.contains(&code)), "{}: {output:?}", self.title());
        let chosen = (self.gaps)(&gaps);
        assert!(!chosen.is_empty(), "{} is killed nowhere: {gaps:?}", self.title());
        let chosen = chosen.into_iter().filter(|at| tells_more(&gaps, *at));
        chosen.map(|at| Case { story: self, at, gap: gaps[at - 1].clone() }).collect()
    }

    /// Fails the test unless the target is as the story has to end.
    pub fn check(&self, project: &Project, context: &dyn Fn() -> String) {
        let things = project.rows("select id, name from things order by 1");
        let steps = project.value("select to_regclass('steps') is not null") == "t";
        match self.end {
            End::Whole => {
                assert!(steps, "nothing was deployed: {}", context());
                assert_eq!(project.rows("select id from steps order by 1"), ["1", "2"], "{}", context());
                let valid = "select indisvalid from pg_index where indexrelid = 'steps_id'::regclass";
                assert_eq!(project.value(valid), "t", "{}", context());
                assert_eq!(project.tracking(), ["0001_first", "0002_units"], "{}", context());
                let done = project.rows("select step from dbd.ledger where phase <> 'started' order by seq");
                assert_eq!(
                    done,
                    ["migration 1, unit 1", "migration 2, unit 1", "migration 2, unit 2"],
                    "{}",
                    context()
                );
            }
            End::Back | End::Kept | End::Untouched => {
                assert!(!steps, "{}", context());
                assert!(project.tracking().is_empty(), "{}", context());
                if self.end == End::Untouched {
                    assert_eq!(project.value("select to_regnamespace('dbd') is null"), "t", "{}", context());
                }
            }
        }
        let theirs: &[&str] = if self.end == End::Kept { &["3|null"] } else { &[] };
        assert_eq!(things, [&["1|one", "2|two"], theirs].concat(), "{}", context());
        bijection(project, context);
        project.assert_sound();
    }
}

/// What the ledger in the target says is done, the journal says, and the other way round.
pub fn bijection(project: &Project, context: &dyn Fn() -> String) {
    let events = project.events();
    let intents: BTreeMap<u64, &Event> =
        events.iter().filter(|event| event.kind == "step.intended").map(|event| (event.seq, event)).collect();
    let ledger = match project.value("select to_regclass('dbd.ledger') is not null").as_str() {
        "t" => project.rows("select seq, hash, effect_id from dbd.ledger where phase <> 'started'"),
        _ => Vec::new(),
    };
    let mut there = Vec::new();
    for row in &ledger {
        let mut cells = row.split('|');
        let (seq, hash, effect) = (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap());
        let intent = intents.get(&seq.parse().unwrap());
        let same = intent.is_some_and(|intent| intent.hash == hash && intent.body["id"] == effect);
        assert!(same, "the ledger has {row}, and the journal no such intent\n{}", context());
        there.push(effect.to_owned());
    }
    let changes =
        |event: &&&Event| ["migrate", "undo_step", "swap", "restore"].iter().any(|effect| event.intends(effect));
    for intent in intents.values().filter(changes) {
        let id = &intent.body["id"];
        let happened = events.iter().any(|event| {
            event.body["id"] == *id
                && (event.kind == "step.succeeded"
                    || event.kind == "step.reconciled" && event.body["verdict"]["verdict"] == "applied")
        });
        let written = there.iter().filter(|effect| *id == **effect).count();
        assert_eq!(written, usize::from(happened), "{id} in the ledger and in the journal\n{}", context());
    }
}

impl Case {
    /// Tells the story, killed in the gap and resumed, and checks how it ends.
    pub fn told(&self, desk: &mut Desk) -> Row {
        let project = desk.again();
        let (output, passed) = project.drill(Some(self.at), &words(project, self.story.killed));
        let how = || format!("{}: killed at {} ({} {})", self.story.title(), self.at, self.gap.0, self.gap.1);
        assert_eq!(output.code, None, "{} was not killed: {output:?}", how());
        assert_eq!(passed.last(), Some(&self.gap), "{}: another gap", how());
        assert_eq!(passed.len(), self.at, "{}: another number of gaps", how());
        let at_kill = project.events();
        let row = Row::of(self, &at_kill);
        let outputs = resume(project, self.story.again);
        let context = || format!("{}\n{outputs:?}\n{:#?}", how(), project.events());
        let checked = catch_unwind(AssertUnwindSafe(|| self.story.check(project, &context)));
        if checked.is_err() {
            panic!("the check above failed\n{}", context());
        }
        row.found(&project.events()[at_kill.len()..])
    }
}

/// Goes on until nothing is left to do.
pub fn resume(project: &Project, again: &[&str]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for command in again {
        // Whether the command came to nothing or not, nobody knows who was not told: it is given again.
        if project.events().is_empty() || !command.starts_with("start") {
            outputs.push(run(project, command));
        }
    }
    loop {
        let output = project.dbd(&["resume", "--last", "--json"]);
        let over = match output.code {
            // Nothing is open: the reports of what was finished are written, if they were not.
            Some(2) => {
                let run = project.run_in_journal();
                outputs.push(project.dbd(&["resume", &run, "--json"]).expect(0));
                true
            }
            Some(75) => false,
            code => {
                assert!(matches!(code, Some(0 | 3 | 4)), "{output:?}\n{outputs:?}\n{:#?}", project.events());
                true
            }
        };
        outputs.push(output);
        if over {
            return outputs;
        }
        assert!(outputs.len() < 6, "resumed without an end\n{outputs:?}\n{:#?}", project.events());
    }
}

/// The words of a command line, with the newest run in place.
pub fn words<'w>(project: &Project, command: &'w str) -> Vec<&'w str> {
    let mut words: Vec<&str> = command.split(' ').collect();
    for word in &mut words {
        if *word == "{run}" {
            // A handful of runs in a test process.
            *word = project.run_in_journal().leak();
        }
    }
    words.push("--json");
    words
}

fn run(project: &Project, command: &str) -> Output {
    project.quiet();
    project.dbd(&words(project, command))
}
