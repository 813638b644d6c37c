//! What the outputs to other hosts and files have in common: they take parcels in loads, and say of each what became of it.

/// How long it is since some moment: for time-outs.
pub type Clock = std::sync::Arc<dyn Fn() -> std::time::Duration + Send + Sync>;

/// One event on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel<'a> {
    /// `event.id`: the same on every try, so that the far side recognises doubles.
    pub id: &'a str,
    /// `@timestamp`, nanoseconds since 1970.
    pub time: i64,
    /// `event.action`.
    pub action: &'a str,
    /// `event.severity`, 0 where there is none.
    pub severity: u64,
    /// `host.name`.
    pub host: &'a str,
    /// The event in the output's format: one line, without its end.
    pub bytes: &'a [u8],
}

/// Most that is given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Events.
    pub events: usize,
    /// Bytes of them all.
    pub bytes: usize,
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The far side has it, for good.
    Arrived,
    /// The far side wants it later.
    Again,
    /// The far side will never take it: why, in its words. They are as hostile as anything from outside.
    Refused(String),
}

/// Why none of a load is known to have arrived: all of it is given again.
#[derive(Debug, thiserror::Error)]
#[error("{attempted}: {advice}")]
pub struct FarError {
    /// What was attempted, on what: `sending 500 events to https://…`.
    pub attempted: String,
    /// What to do about it.
    pub advice: &'static str,
    /// What the far side wants to be left alone for.
    pub not_before: Option<std::time::Duration>,
    /// What was said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A place for parcels that may be away for a night.
pub trait Far: Send {
    /// How much it takes at once.
    fn most(&self) -> Load;

    /// Brings a load there, in order, within a bounded time, and waits until it is known what became of each parcel. As many fates
    /// as parcels, in their order.
    ///
    /// # Errors
    /// When nothing is known of any parcel. The next call begins with a new connection.
    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError>;

    /// Looks at the files that it needs, keys and certificates, before there is anything to bring.
    ///
    /// # Errors
    /// Which of them can't be used, and why.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Somebody else moved what it writes to, or its certificates were renewed: opens everything anew at the next load.
    fn reopen(&mut self) {}

    /// What can't be known here of what was brought, so that some of it may not have arrived; none where it is known.
    fn doubt(&self) -> Option<&str> {
        None
    }
}
