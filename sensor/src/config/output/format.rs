//! How an output writes events.

use serde::Deserialize;

/// A format, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Elastic Common Schema.
    #[default]
    Ecs,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
    /// A line for a person.
    Text,
}

impl Format {
    /// Its name in the table of formats.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Text => "text",
        }
    }
}
