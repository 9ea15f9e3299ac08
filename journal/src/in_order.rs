//! Work that several threads do side by side, and whose results are taken in order.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};

/// Does the `count` pieces of work, each by one of the `workers` in a thread of its own, and hands what comes of them to `take`, the first piece's
/// first, until it breaks. The pieces are dealt out in turn, and no worker is more than two ahead: what is held at once does not grow
/// with their number.
///
/// Without workers nothing is done.
///
/// # Panics
/// If a worker does.
pub fn in_order<W: Send, T: Send, B>(
    workers: Vec<W>,
    count: usize,
    work: impl Fn(&mut W, usize) -> T + Sync,
    mut take: impl FnMut(T) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let threads = workers.len();
    if threads == 0 {
        return ControlFlow::Continue(());
    }
    std::thread::scope(|scope| {
        let work = &work;
        let lines: Vec<Receiver<T>> = workers
            .into_iter()
            .enumerate()
            .map(|(first, mut worker)| {
                let (give, line) = sync_channel(1);
                scope.spawn(move || {
                    for at in (first..count).step_by(threads) {
                        // Nobody listens any more once `take` has had enough.
                        if give.send(work(&mut worker, at)).is_err() {
                            return;
                        }
                    }
                });
                line
            })
            .collect();
        for at in 0..count {
            // A worker that is gone before its time has panicked, and the scope tells of it.
            let Ok(done) = lines[at % threads].recv() else { break };
            take(done)?;
        }
        ControlFlow::Continue(())
    })
}

/// How many threads are worth having: one for each processor, up to eight.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_did_the_work_and_end_when_they_are_not_wanted() {
        for threads in 1..5_usize {
            for count in 0..12 {
                let mut taken = Vec::new();
                let all = in_order(
                    vec![(); threads],
                    count,
                    |(), at| at * 2,
                    |done| {
                        taken.push(done);
                        if done == 14 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
                    },
                );
                let expected: Vec<usize> = (0..count.min(8)).map(|at| at * 2).collect();
                assert_eq!(taken, expected);
                assert_eq!(all, if count > 7 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) });
            }
        }
    }
}
