//! Questions that may never be answered, asked by threads that can be given up.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Sender},
    },
    time::Duration,
};

use super::Reader;
use crate::background;

/// How long one process may keep us waiting.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// How many processes may keep a thread of ours for ever; after that, nobody's memory is asked for.
const STUCK_MOST: u32 = 8;
/// How many threads ask when there are many to ask: one is as good as a processor.
const LANES: usize = 2;
/// After so long what is there is taken, if it isn't a load.
const MOMENT: Duration = Duration::from_millis(10);
/// How many loads of answers may lie there before they are taken.
const LOADS_MOST: usize = 8;

/// Who asks one question after the other.
pub(super) struct Worker(Sender<Box<dyn FnOnce() + Send>>);

impl Worker {
    fn start() -> Option<Self> {
        let (ask, questions) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        background::begin("asks", move || questions.into_iter().for_each(|question| question())).ok()?;
        Some(Self(ask))
    }
}

impl Reader {
    /// Another of the same /proc, with threads of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.root.clone())
    }

    /// Asks what a process, or who answers for its files, may never answer; gives up after a while.
    pub(super) fn patiently<T: Send + 'static>(
        &mut self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.patiently_for(PATIENCE, question)
    }

    /// The same, with a patience of its own.
    pub(super) fn patiently_for<T: Send + 'static>(
        &mut self,
        patience: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.stuck >= STUCK_MOST {
            return None;
        }
        if self.worker.is_none() {
            self.worker = Worker::start();
        }
        let worker = self.worker.as_ref()?;
        let (answer, answers) = mpsc::channel();
        // Nobody waits any more for an answer that comes too late.
        worker.0.send(Box::new(move || drop(answer.send(question())))).ok()?;
        answers
            .recv_timeout(patience)
            .inspect_err(|_| {
                self.worker = None;
                self.stuck += 1;
            })
            .ok()
    }

    /// Asks many the same, and takes the answers in their order, as they come; none of who gave none in time.
    ///
    /// `load`: so many answers are brought at once, for waking somebody costs more than most questions. Who wants no more
    /// breaks off, and then nobody is asked any more.
    pub(super) fn each_patiently<Q, T>(
        &mut self,
        all: Vec<Q>,
        load: usize,
        patience: impl Fn(&Q) -> Duration,
        question: impl Fn(&Q) -> T + Clone + Send + 'static,
        mut take: impl FnMut(&Self, &Q, Option<T>) -> ControlFlow<()>,
    ) where
        Q: Send + Sync + 'static,
        T: Send + 'static,
    {
        let all = Arc::new(all);
        let mut lanes: [Option<Arc<Lane<T>>>; LANES] = [const { None }; LANES];
        let mut brought: [VecDeque<T>; LANES] = [const { VecDeque::new() }; LANES];
        for (at, one) in all.iter().enumerate() {
            let number = at % LANES;
            let (Some(lane), Some(brought)) = (lanes.get_mut(number), brought.get_mut(number)) else {
                continue;
            };
            if brought.is_empty() && self.stuck < STUCK_MOST {
                let asked = lane.get_or_insert_with(|| Lane::begin(&all, at, load, question.clone()));
                *brought = asked.wait(patience(one));
                if brought.is_empty() {
                    asked.give_up();
                    *lane = None;
                    self.stuck += 1;
                }
            }
            let answer = brought.pop_front();
            if take(self, one, answer).is_break() {
                break;
            }
        }
        lanes.into_iter().flatten().for_each(|lane| lane.give_up());
    }
}

/// A thread that asks every so-manyth of many, and what it brings.
struct Lane<T> {
    load: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    answers: VecDeque<T>,
    /// Nobody is left to be asked.
    ended: bool,
    /// Nobody waits for an answer any more.
    given_up: bool,
}

impl<T: Send + 'static> Lane<T> {
    fn begin<Q: Send + Sync + 'static>(
        all: &Arc<Vec<Q>>,
        from: usize,
        load: usize,
        question: impl Fn(&Q) -> T + Send + 'static,
    ) -> Arc<Self> {
        let state = State { answers: VecDeque::new(), ended: false, given_up: false };
        let lane = Arc::new(Self { load, state: Mutex::new(state), changed: Condvar::new() });
        let (all, own) = (Arc::clone(all), Arc::clone(&lane));
        let asks = move || {
            let mut mine = all.iter().skip(from).step_by(LANES);
            while mine.next().is_some_and(|one| own.bring(question(one))) {}
            own.lock().ended = true;
            own.changed.notify_one();
        };
        if background::begin("asks", asks).is_err() {
            lane.lock().ended = true;
        }
        lane
    }

    /// One of the two never panics while it holds it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays an answer down, when there is room; whether somebody still waits for the next.
    fn bring(&self, answer: T) -> bool {
        let full = |state: &mut State<T>| state.answers.len() >= self.load * LOADS_MOST && !state.given_up;
        let state = self.changed.wait_while(self.lock(), full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.answers.push_back(answer);
        if state.answers.len() == self.load {
            self.changed.notify_one();
        }
        !state.given_up
    }

    /// All answers that are there: a load of them; fewer at the end, and when the next takes longer than a moment.
    fn wait(&self, patience: Duration) -> VecDeque<T> {
        let few = |state: &mut State<T>| state.answers.len() < self.load && !state.ended;
        let (mut state, mut left) = (self.lock(), patience);
        loop {
            let moment = left.min(MOMENT);
            let waited = self.changed.wait_timeout_while(state, moment, few);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            left = left.saturating_sub(moment);
            if !state.answers.is_empty() || state.ended || left.is_zero() {
                break;
            }
        }
        let answers = std::mem::take(&mut state.answers);
        self.changed.notify_one();
        answers
    }

    fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn whoever_keeps_us_waiting_is_given_up() {
        let mut reader = Reader::new("/proc".into());
        let (hold, held) = mpsc::channel::<()>();
        let soon = Duration::from_millis(10);
        let late = reader.patiently_for(soon, move || held.recv());
        assert!(late.is_none());
        drop(hold);
        assert_eq!(reader.patiently_for(Duration::from_secs(60), || 5), Some(5), "the next is asked");
    }

    #[test]
    fn all_answer_in_order_but_who_is_silent() {
        let silent = |number: &u32| [3, 8, 500].contains(number);
        let patience = move |number: &u32| Duration::from_secs(if silent(number) { 0 } else { 60 });
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let question = move |number: &u32| {
            if silent(number) {
                let _ = held.lock().map(|held| held.recv());
            }
            number * 2
        };
        let mut taken = Vec::new();
        let mut reader = Reader::new("/proc".into());
        reader.each_patiently((0..1001).collect(), 7, patience, question, |_, number, answer| {
            taken.push((*number, answer));
            ControlFlow::Continue(())
        });
        drop(hold);
        let expected: Vec<_> =
            (0..1001).map(|number| (number, (!silent(&number)).then_some(number * 2))).collect();
        assert_eq!(taken, expected);
        assert_eq!(reader.stuck, 3);
    }

    #[test]
    fn after_too_many_silent_ones_nobody_is_asked() {
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let question = move |_: &u32| drop(held.lock().map(|held| held.recv()));
        let mut reader = Reader::new("/proc".into());
        let mut none = 0;
        let soon = |_: &u32| Duration::from_millis(1);
        reader.each_patiently((0..100).collect(), 4, soon, question, |_, _, answer| {
            none += u32::from(answer.is_none());
            ControlFlow::Continue(())
        });
        drop(hold);
        assert_eq!((none, reader.stuck), (100, STUCK_MOST));
    }

    #[test]
    fn nobody_is_asked_for_who_wants_no_more() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let question = move |_: &u32| counted.fetch_add(1, Ordering::SeqCst);
        let mut reader = Reader::new("/proc".into());
        let (load, mut taken) = (4, 0);
        let long = |_: &u32| Duration::from_secs(60);
        reader.each_patiently((0..100_000).collect(), load, long, question, |_, _, _| {
            taken += 1;
            ControlFlow::Break(())
        });
        // Only the threads have it beside us; they end when they see that nobody waits.
        while Arc::strong_count(&asked) > 1 {
            std::thread::yield_now();
        }
        assert_eq!((taken, reader.stuck), (1, 0));
        let most = LANES * (2 * load * LOADS_MOST + 1);
        assert!(asked.load(Ordering::SeqCst) <= most, "{asked:?}");
    }
}
