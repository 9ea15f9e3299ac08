//! A period of the journal: which events it is, and which runs they belong to.

use crate::cli::commands::journal_problem;
use crate::cli::render::audit::{Entry as Told, Window, entry};
use crate::config::since;
use crate::domain::audit::{Review, Trail};
use crate::domain::code::Code;
use crate::domain::event::Recorded;
use crate::domain::evolve::fold;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use crate::ports::journal::{Journal, RunHead};
use crate::wire::OpenJournal;
use std::ops::ControlFlow;

/// What was asked for, as it was typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Asked {
    /// From when: 30d, 12h, a date, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    pub since: String,
    /// Until when; now if left out
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Only this environment
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
}

/// A period, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// Its beginning, in milliseconds since 1970.
    pub since_ms: i64,
    /// Its end.
    pub until_ms: i64,
    /// When it was asked for.
    pub now_ms: i64,
    /// Its first event.
    pub first: u64,
    /// Its last event; one less than the first if there is none.
    pub last: u64,
    /// How many events the journal had.
    pub size: u64,
}

impl Period {
    /// The period that `asked` means at `now_ms`.
    ///
    /// # Errors
    /// [`BadArgument`](Code::BadArgument), or what the journal has to say.
    pub(crate) fn resolve(asked: &Asked, journal: Option<&OpenJournal>, now_ms: i64) -> Result<Self, Failure> {
        let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let since_ms = since::parse(&asked.since, now)?.as_millisecond();
        let until = asked.until.as_deref().map(|text| since::parse(text, now)).transpose()?;
        let (size, newest) = match journal {
            Some(journal) => {
                let head = journal.store().head().map_err(|error| journal_problem(&error))?;
                let last = journal.store().event(head.seq).map_err(|error| journal_problem(&error))?;
                (head.seq, last.map_or(i64::MIN, |last| last.ts_ms))
            }
            None => (0, i64::MIN),
        };
        // Left open, it reaches to the newest event, also if that was written by a clock that is ahead.
        let until_ms = until.map_or(now_ms.max(newest.saturating_add(1)), |until| until.as_millisecond());
        if since_ms > until_ms {
            return Err(Failure::new(Code::BadArgument, "--since lies after --until"));
        }
        let first_at = |ms| match journal {
            Some(journal) => journal.store().first_at(ms).map_err(|error| journal_problem(&error)),
            None => Ok(1),
        };
        let first = first_at(since_ms)?.min(size + 1);
        let last = (first_at(until_ms)? - 1).min(size);
        Ok(Self { since_ms, until_ms, now_ms, first, last: last.max(first - 1), size })
    }

    /// Whether an event is in it.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        (self.first..=self.last).contains(&seq)
    }

    /// As the report shows it.
    pub(crate) fn window(&self, origin: String, head: (u64, String), filters: Vec<(String, String)>) -> Window {
        Window {
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            events: (self.first <= self.last).then_some((self.first, self.last)),
            now_ms: self.now_ms,
            filters,
            origin,
            head_seq: head.0,
            head: head.1,
        }
    }

    /// Whether a run's entry stands in the record: something of it, or a review of it, is in the period.
    pub(crate) fn concerns(&self, places: impl IntoIterator<Item = u64>, reviews: &[Review]) -> bool {
        places.into_iter().any(|seq| self.holds(seq)) || reviews.iter().any(|review| self.holds(review.seq))
    }

    /// The reviews of `run` until the period's end.
    pub(crate) fn reviews(&self, trail: &Trail, run: &RunId) -> Vec<Review> {
        let all = trail.reviews.get(run).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|review| review.seq <= self.last).cloned().collect()
    }
}

/// One run as it stood at the period's end.
pub(crate) struct Within {
    /// The fold of its events until then.
    pub run: Run,
    /// Those events.
    pub events: Vec<Recorded>,
    /// What was said of it afterwards, until then.
    pub reviews: Vec<Review>,
}

impl Within {
    /// Its entry in the record.
    pub(crate) fn told(&self) -> Told {
        entry(&self.run, &self.events, &self.reviews)
    }
}

/// How many runs there have to be for each thread that reads them.
const WORTH_A_THREAD: usize = 64;

/// Hands every run of the period to `visit`, in the order of their first events, one at a time.
///
/// # Errors
/// What the journal has to say, [`IllegalHistory`](Code::IllegalHistory) if a run's events do not fit each other, or `visit`'s own.
pub(crate) fn each_run(
    journal: &OpenJournal,
    period: &Period,
    trail: &Trail,
    mut visit: impl FnMut(Within) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut runs = journal.runs()?;
    runs.retain(|head| {
        let may = head.first_seq <= period.last && head.last_seq >= period.first;
        may || period.concerns([], &period.reviews(trail, &head.run))
    });
    let another = || dbd_journal::Journal::open_read_only(journal.store().path());
    // Each thread reads through a connection of its own; a few runs are not worth one.
    let threads = dbd_journal::threads().min(runs.len() / WORTH_A_THREAD);
    let others: Vec<dbd_journal::Journal> = match threads {
        ..=1 => Vec::new(),
        _ => (0..threads).map_while(|_| another().ok()).collect(),
    };
    if others.is_empty() {
        for head in &runs {
            if let Some(within) = one_run(journal.store(), head, period, trail)? {
                visit(within)?;
            }
        }
        return Ok(());
    }
    let read = |store: &mut dbd_journal::Journal, at: usize| one_run(store, &runs[at], period, trail);
    let ended = dbd_journal::in_order(others, runs.len(), read, |within| {
        match within.and_then(|within| within.map_or(Ok(()), &mut visit)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    });
    match ended {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(failure),
    }
}

/// A run as it stood at the period's end; none if it does not concern the period.
fn one_run(
    store: &dbd_journal::Journal,
    head: &RunHead,
    period: &Period,
    trail: &Trail,
) -> Result<Option<Within>, Failure> {
    let reviews = period.reviews(trail, &head.run);
    let (mut events, mut unread) = (Vec::new(), None);
    let looked = store.look_at(head.run.as_str(), |seen| {
        if seen.seq > period.last {
            return ControlFlow::Break(());
        }
        match crate::wire::recorded(seen) {
            Ok(recorded) => events.push(recorded),
            Err(why) => unread = Some((seen.seq, why)),
        }
        if unread.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    looked.map_err(|error| journal_problem(&error))?;
    if let Some((seq, why)) = unread {
        return Err(Failure::new(Code::JournalBroken, format!("event {seq} cannot be read")).cause(why));
    }
    if !period.concerns(events.iter().map(|event: &Recorded| event.seq), &reviews) {
        return Ok(None);
    }
    let run = fold(&head.run, &events).map_err(|misfit| {
        Failure::new(Code::IllegalHistory, format!("{}: its history is not legal", head.run))
            .source(&misfit)
            .hint("`dbd audit verify` says whether the journal was changed")
    })?;
    Ok(Some(Within { run, events, reviews }))
}

/// What a filter is called in the report.
pub(crate) fn filters(env: Option<&str>, actor: Option<&str>) -> Vec<(String, String)> {
    let all = [("env", env), ("actor", actor)];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

/// The period in words.
pub(crate) fn spoken(period: &Period) -> String {
    format!("{} to {}", rfc3339(period.since_ms), rfc3339(period.until_ms))
}
