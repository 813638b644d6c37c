//! Several outputs as one: each is given every event, and an event counts as delivered when all have it, as lost when one refused it.

use std::collections::VecDeque;

use super::{Counts, Fault, Output, OutputError, Taken};
use crate::record::Record;

/// Outputs side by side.
#[derive(Default)]
pub struct Tee {
    members: Vec<Member>,
    /// Events that all have taken.
    taken: u64,
    refused: u64,
}

struct Member {
    output: Box<dyn Output>,
    /// Of each event that waits here, whether the others have taken it too.
    waiting: VecDeque<bool>,
    /// Events that all have taken and that are out here.
    out: u64,
}

impl Member {
    /// Looks which events are out by now: an output gives them on in order.
    fn look(&mut self) {
        let waiting = usize::try_from(self.output.counts().waiting).unwrap_or(usize::MAX);
        while self.waiting.len() > waiting {
            self.out += u64::from(self.waiting.pop_front().unwrap_or(false));
        }
    }
}

impl Tee {
    /// Gives what comes from now on to this one too.
    pub fn add(&mut self, output: Box<dyn Output>) {
        // What the others had before is none of its own.
        self.members.push(Member { output, waiting: VecDeque::new(), out: self.taken });
    }
}

impl Output for Tee {
    fn write(&mut self, record: &Record, line: &[u8]) -> Result<Taken, OutputError> {
        let (mut refusal, mut error, mut kept) = (None, None, 0_u64);
        for (at, member) in self.members.iter_mut().enumerate() {
            match member.output.write(record, line) {
                Ok(Taken::Kept) => kept |= 1 << at,
                Ok(refused) => refusal = refusal.or(Some(refused)),
                Err(one) => error = error.or(Some(one)),
            }
        }
        let all = refusal.is_none() && error.is_none();
        for (at, member) in self.members.iter_mut().enumerate() {
            if kept & (1 << at) != 0 {
                member.waiting.push_back(all);
            }
        }
        self.taken += u64::from(all);
        self.refused += u64::from(!all);
        match error {
            Some(error) => Err(error),
            None => Ok(refusal.unwrap_or(Taken::Kept)),
        }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        let mut result: Result<(), OutputError> = Ok(());
        for member in &mut self.members {
            let flushed = member.output.flush();
            member.look();
            match (flushed, &result) {
                // One that is final goes before one that isn't.
                (Err(error), Err(before))
                    if before.fault != Fault::Closed && error.fault == Fault::Closed =>
                {
                    result = Err(error);
                }
                (Err(error), Ok(())) => result = Err(error),
                _ => {}
            }
        }
        result
    }

    fn settle(&mut self) {
        self.members.iter_mut().for_each(|member| member.output.settle());
    }

    fn end(&mut self) {
        self.members.iter_mut().for_each(|member| member.output.end());
    }

    fn stage(&self) -> &'static str {
        let last = self.members.iter().min_by_key(|member| member.out);
        last.map_or("output", |member| member.output.stage())
    }

    fn counts(&self) -> Counts {
        let delivered = self.members.iter().map(|member| member.out).min().unwrap_or(self.taken);
        Counts { delivered, waiting: self.taken.saturating_sub(delivered), refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// An output that does as it is told.
    #[derive(Default)]
    struct Told {
        counts: Counts,
        refuses: bool,
        holds: bool,
        fails: Option<Fault>,
    }

    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Told>>, &'static str);

    impl Fake {
        fn set(&self, change: impl FnOnce(&mut Told)) {
            change(&mut self.0.lock().unwrap());
        }
    }

    impl Output for Fake {
        fn write(&mut self, _: &Record, _: &[u8]) -> Result<Taken, OutputError> {
            let mut told = self.0.lock().unwrap();
            if told.refuses {
                told.counts.refused += 1;
                return Ok(Taken::Refused { stage: self.1, reason: "full" });
            }
            told.counts.waiting += 1;
            Ok(Taken::Kept)
        }

        fn flush(&mut self) -> Result<(), OutputError> {
            let mut told = self.0.lock().unwrap();
            if !told.holds {
                told.counts.delivered += std::mem::take(&mut told.counts.waiting);
            }
            let source = io::ErrorKind::Other.into();
            told.fails
                .map_or(Ok(()), |fault| Err(OutputError { attempted: self.1, undelivered: 0, fault, source }))
        }

        fn end(&mut self) {}

        fn stage(&self) -> &'static str {
            self.1
        }

        fn counts(&self) -> Counts {
            self.0.lock().unwrap().counts
        }
    }

    fn tee() -> (Tee, Fake, Fake) {
        let (one, two, mut tee) = (Fake(Arc::default(), "one"), Fake(Arc::default(), "two"), Tee::default());
        tee.add(Box::new(one.clone()));
        tee.add(Box::new(two.clone()));
        (tee, one, two)
    }

    fn write(tee: &mut Tee, times: u64) -> Taken {
        (0..times).fold(Taken::Kept, |_, _| tee.write(&Record::new(), b"x\n").unwrap())
    }

    #[test]
    fn what_all_have_is_delivered_and_what_one_refused_is_lost_once() {
        let (mut tee, one, two) = tee();
        assert_eq!(write(&mut tee, 3), Taken::Kept);
        two.set(|two| two.holds = true);
        tee.flush().unwrap();
        assert_eq!(tee.counts(), Counts { delivered: 0, waiting: 3, refused: 0 });
        two.set(|two| two.refuses = true);
        assert_eq!(write(&mut tee, 2), Taken::Refused { stage: "two", reason: "full" });
        one.set(|one| one.refuses = true);
        assert_eq!(write(&mut tee, 1), Taken::Refused { stage: "one", reason: "full" });
        one.set(|one| one.refuses = false);
        two.set(|two| two.refuses = false);
        assert_eq!(write(&mut tee, 4), Taken::Kept);
        tee.flush().unwrap();
        assert_eq!(tee.counts(), Counts { delivered: 0, waiting: 7, refused: 3 });
        assert_eq!(tee.stage(), "two");
        // Only some of what waits goes out.
        two.set(|two| two.counts = Counts { delivered: 5, waiting: 2, refused: 3 });
        tee.flush().unwrap();
        assert_eq!(tee.counts(), Counts { delivered: 5, waiting: 2, refused: 3 });
        two.set(|two| two.holds = false);
        tee.flush().unwrap();
        assert_eq!(tee.counts(), Counts { delivered: 7, waiting: 0, refused: 3 });
        assert_eq!(one.counts(), Counts { delivered: 9, waiting: 0, refused: 1 });
    }

    #[test]
    fn one_that_comes_later_has_no_part_in_what_was() {
        let mut tee = Tee::default();
        tee.add(Box::new(Fake::default()));
        assert_eq!(write(&mut tee, 2), Taken::Kept);
        tee.add(Box::new(Fake::default()));
        assert_eq!(write(&mut tee, 1), Taken::Kept);
        tee.flush().unwrap();
        assert_eq!(tee.counts(), Counts { delivered: 3, waiting: 0, refused: 0 });
    }

    #[test]
    fn the_final_fault_is_the_one_that_is_told() {
        let (mut tee, one, two) = tee();
        one.set(|one| one.fails = Some(Fault::Full));
        assert_eq!(tee.flush().unwrap_err().fault, Fault::Full);
        two.set(|two| two.fails = Some(Fault::Closed));
        let error = tee.flush().unwrap_err();
        assert_eq!((error.fault, error.attempted), (Fault::Closed, "two"));
    }
}
