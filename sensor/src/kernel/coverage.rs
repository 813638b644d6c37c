//! What is seen by which hook, and what isn't and why.

/// How far an event is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The hook is attached.
    Seen,
    /// The kernel has no such call: nothing is missed.
    Absent,
    /// Something isn't seen.
    Unseen,
}

impl State {
    /// Its word in a `coverage` event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Absent => "absent",
            Self::Unseen => "unseen",
        }
    }
}

/// What became of one hook.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The event it serves.
    pub action: &'static str,
    /// The hook, or the kernel member that a field needs.
    pub hook: &'static str,
    /// Whether it is seen.
    pub state: State,
    /// Why not; empty when it is.
    pub reason: String,
    /// What to do; empty when nothing.
    pub remedy: &'static str,
}

impl Coverage {
    /// A row.
    #[must_use]
    pub fn row(
        action: &'static str,
        hook: &'static str,
        state: State,
        reason: String,
        remedy: &'static str,
    ) -> Self {
        Self { action, hook, state, reason, remedy }
    }
}
