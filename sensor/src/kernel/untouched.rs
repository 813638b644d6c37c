//! Whether what the sensor put into the kernel is still there, as it was put there.

use super::{Gap, Kernel, State, names};

impl Kernel {
    /// Looks whether somebody took programs away, and attaches them again; true when what is covered has changed.
    pub fn check(&mut self) -> bool {
        self.links.check(&mut self.coverage)
    }

    /// Whether somebody took marks on file systems away since this was last asked. They are to be set again.
    pub fn marks_taken(&mut self) -> bool {
        self.names.as_mut().is_some_and(names::Names::taken)
    }

    /// Notes whether those marks are there; true when that is news.
    pub fn note_names(&mut self, there: bool) -> bool {
        let row = self.coverage.iter_mut().find(|row| row.hook == names::HOOK);
        let Some(row) = row.filter(|row| (row.state == State::Seen) != there) else { return false };
        let taken = names::taken();
        match (there, row.gap.missing == taken.missing) {
            (false, _) => (row.state, row.gap) = (State::Unseen, taken),
            (true, true) => (row.state, row.gap) = (State::Seen, Gap::default()),
            // It is for another reason that not all is seen.
            (true, false) => return false,
        }
        true
    }
}
