//! The outputs over HTTP and Kafka, against servers that do what they are told: all that is documented of theirs, and all that isn't.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

mod elasticsearch;
mod hec;
mod kafka;
mod otlp;
mod over_http;
mod post;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sensor::config;
use sensor::output::{Far, FarError, Fate, Parcel};
use serde::de::DeserializeOwned;
use tests::Folder;

/// Events on their way.
pub(crate) struct Events(Vec<(String, Vec<u8>)>);

impl Events {
    /// So many, each with its number.
    pub(crate) fn new(count: usize) -> Self {
        let event = |n| {
            let id = format!("e4057c27660c0d4b-{n}");
            let line = format!(
                "{{\"@timestamp\":\"2026-11-27T00:00:00.000000{n:03}Z\",\"event\":{{\"id\":\"{id}\"}}}}"
            );
            (id, line.into_bytes())
        };
        Self((0..count).map(event).collect())
    }

    /// With this line in the place of that event's.
    pub(crate) fn with(mut self, n: usize, line: &str) -> Self {
        self.0[n].1 = line.as_bytes().to_vec();
        self
    }

    pub(crate) fn parcels(&self) -> Vec<Parcel<'_>> {
        self.0
            .iter()
            .map(|(id, bytes)| Parcel {
                id,
                time: 1_764_201_600_123_456_789,
                action: "exec",
                severity: 73,
                host: "web-1",
                bytes,
            })
            .collect()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(_, line)| String::from_utf8(line.clone()).unwrap()).collect()
    }
}

/// Settings as they stand in a file.
pub(crate) fn settings<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap()
}

/// A file with a key that only its owner may read.
pub(crate) fn secret(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.at("secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// Brings so many, which must all arrive.
pub(crate) fn arrives(far: &mut dyn Far, count: usize) {
    let fates = far.bring(&Events::new(count).parcels());
    assert_eq!(fates.unwrap(), vec![Fate::Arrived; count]);
}

/// Why it didn't, in one line, which shows whatever was said without doing it.
pub(crate) fn fault(far: &mut dyn Far, count: usize) -> (FarError, String) {
    let error = match far.bring(&Events::new(count).parcels()) {
        Err(error) => error,
        Ok(fates) => panic!("{fates:?}"),
    };
    let mut line = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    assert!(!line.chars().any(char::is_control), "{line:?}");
    (error, line)
}

pub(crate) fn refused(fate: &Fate) -> &str {
    match fate {
        Fate::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Each example of the documents is an output of its type.
#[test]
fn the_documents_examples_are_taken() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outputs");
    let mut tried = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let examples = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for example in examples {
            let kind = path.file_stem().unwrap().to_str().unwrap();
            assert!(example.contains(&format!("type = {kind:?}")), "{example}");
            let config: config::Config = toml::from_str(example).unwrap();
            assert_eq!(config.outputs.get().len(), 1);
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
}
