//! Stopping: asked once, finish the step under way and rest; asked twice, stop at once. Resumable either way.

use tokio::sync::watch;

/// How urgently the run is to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all.
    #[default]
    No,
    /// After the step under way.
    AfterStep,
    /// Now.
    Now,
}

/// The wish to stop, as whoever works on the run sees it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Urgency>);

/// The wish to stop, as whoever has it sees it.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Urgency>);

/// Both ends.
#[must_use]
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Urgency::No);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks for it, or asks again; returns how urgent it is now.
    pub fn ask(&self) -> Urgency {
        self.0.send_modify(|urgency| {
            *urgency = if *urgency == Urgency::No { Urgency::AfterStep } else { Urgency::Now };
        });
        *self.0.borrow()
    }
}

impl Stop {
    /// How urgent it is.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    /// Returns once it is to stop now.
    pub async fn now(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|urgency| *urgency == Urgency::Now).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}
