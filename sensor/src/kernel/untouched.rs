//! Whether what the sensor put into the kernel is still there, as it was put there.

use super::{
    Coverage, Gap, Kernel, State,
    names::{self, Names},
    plan::{FUNCTIONS, Hook, SOONER},
};

/// The setting by which the kernel calls programs at its functions.
const SETTING: &str = "kernel.ftrace_enabled";

/// What a hook of a function has when the kernel calls none of them.
fn switched_off(hook: &Hook) -> Gap {
    Gap {
        reason: "somebody switched off that the kernel calls programs at its functions (sysctl kernel.ftrace_enabled=0)"
            .to_owned(),
        missing: SETTING.to_owned(),
        effect: match hook.without {
            "" => {
                "for up to a second: who took the name of a file in the first moments of its running; from then on marks \
                 on file systems tell"
            }
            without => without,
        }
        .to_owned(),
        remedy: "sysctl kernel.ftrace_enabled=1, and find who did it, by the events before this one".to_owned(),
    }
}

impl Kernel {
    /// Looks whether somebody took programs away, and attaches them again; true when what is covered has changed.
    pub fn check(&mut self) -> bool {
        self.links.check(&mut self.coverage)
    }

    /// Notes whether the kernel calls programs at its functions, where they serve, and has marks on file systems tell
    /// while it doesn't; true when that is news.
    pub fn note_functions(&mut self, called: impl FnOnce() -> bool) -> bool {
        let mut off = false;
        let hook_of = |row: &Coverage| {
            let hook = FUNCTIONS.iter().chain(SOONER).find(|hook| hook.name == row.hook);
            hook.filter(|_| row.state == State::Seen || row.gap.missing == SETTING)
        };
        let mut rows = Vec::new();
        for row in &mut self.coverage {
            if let Some(hook) = hook_of(row) {
                off |= row.gap.missing == SETTING;
                rows.push((row, hook));
            }
        }
        if rows.is_empty() || called() != off {
            return false;
        }
        let names = rows.iter().any(|(_, hook)| FUNCTIONS.iter().any(|function| function.name == hook.name));
        for (row, hook) in rows {
            (row.state, row.gap) = match off {
                true => (State::Seen, Gap::default()),
                false => (State::Unseen, switched_off(hook)),
            };
        }
        if names {
            self.exact = off;
            self.coverage.retain(|row| row.hook != names::HOOK);
            self.names = if self.exact { None } else { Names::open().ok() };
            self.coverage.extend(self.names.is_some().then(|| Coverage::seen("exe_deleted", names::HOOK)));
        }
        true
    }

    /// Whether somebody took marks on file systems away since this was last asked. They are to be set again.
    pub fn marks_taken(&mut self) -> bool {
        self.names.as_mut().is_some_and(Names::taken)
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
