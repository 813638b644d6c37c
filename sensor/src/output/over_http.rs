//! What the outputs over HTTP have in common: a connection that is kept, who the sensor is there, and what statuses mean.

use std::{io::Write, path::Path, time::Duration};

use flate2::{Compression, write::GzEncoder};

use super::{Far, FarError, Fate, Load, Parcel, Sent, bring, fitting, short};
use crate::{
    config::{Login, OverHttp},
    format::{base64, text::escape},
    http::{Client, Trouble},
    tls::Tls,
    trusted::Key,
};

/// Largest answer, bytes.
const ANSWER: u64 = 8 * 1024 * 1024;
/// Loads don't become smaller than this by themselves.
const SMALLEST: usize = 128 * 1024;

/// Who the sensor says that it is.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Login(Login),
    /// A token under a word of its own.
    Token(&'static str, std::path::PathBuf),
}

/// Brings bodies to a URL.
#[derive(Debug)]
pub(crate) struct Courier {
    settings: OverHttp,
    who: Who,
    content: &'static str,
    most: Load,
    /// What was read of files, and the connections; none before the first question and after trouble.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    client: Client,
    authorization: Option<Key>,
}

/// An output over HTTP: what each has of its own. The rest is the same for all.
pub(crate) trait ByHttp: Send {
    /// Who brings its bodies.
    fn courier(&self) -> &Courier;

    /// The same, to change.
    fn courier_mut(&mut self) -> &mut Courier;

    /// Sends a part of a load, and says what became of it.
    ///
    /// # Errors
    /// When nothing is known of it.
    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError>;

    /// Why an event can't go this way at all.
    fn unfit(_: &Parcel<'_>) -> Option<&'static str> {
        None
    }
}

impl<T: ByHttp> Far for T {
    fn most(&self) -> Load {
        self.courier().most()
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        fitting(load, T::unfit, |load| bring(load, |part| self.send(part)))
    }

    fn check(&self) -> Result<(), String> {
        self.courier().check()
    }

    fn reopen(&mut self) {
        self.courier_mut().reopen();
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// What a status means for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// It is there.
    Taken,
    /// It may be taken later.
    Later,
    /// It is too much at once.
    TooLarge,
    /// Something in it is bad.
    Refused,
    /// It says nothing of the load, but of the settings: what to do.
    Settings(&'static str),
}

/// What the far side said, where that is an error.
#[derive(Debug, thiserror::Error)]
#[error("status {status}: {words}")]
struct Answered {
    status: u16,
    words: String,
}

/// What a file has that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
struct NoKey {
    path: String,
    why: String,
}

impl Courier {
    pub(crate) fn new(settings: OverHttp, who: Who, content: &'static str) -> Self {
        let most = Load { events: settings.events, bytes: settings.bytes };
        Self { settings, who, content, most, open: None }
    }

    pub(crate) fn most(&self) -> Load {
        self.most
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// So much was too much at once: less from now on.
    pub(crate) fn too_large(&mut self, events: usize, bytes: usize, said: &Said) -> Sent {
        if events > 1 {
            let least = SMALLEST.min(self.most.bytes);
            self.most.bytes = (bytes / 2).clamp(least, self.most.bytes);
        }
        Sent::Halve(said.reason())
    }

    pub(crate) fn reopen(&mut self) {
        self.open = None;
    }

    /// Brings a body to a path below the URL.
    pub(crate) fn bring(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        events: usize,
    ) -> Result<Said, FarError> {
        let said = self.ask(path, headers, body);
        said.map_err(|(advice, source)| {
            // A connection that failed isn't used again; nor are keys that may have been renewed.
            self.open = None;
            self.error(events, advice, None, source)
        })
    }

    fn ask(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Said, (&'static str, Source)> {
        let packed = if self.settings.gzip { pack(&body) } else { body };
        let url = format!("{}{path}", self.settings.url.get());
        let open = match self.open.take() {
            Some(open) => open,
            None => self.opened()?,
        };
        let open = self.open.insert(open);
        let mut all = vec![("content-type", self.content)];
        all.extend(self.settings.gzip.then_some(("content-encoding", "gzip")));
        all.extend(open.authorization.as_ref().map(|who| ("authorization", who.get())));
        all.extend(headers);
        let failed = |trouble: Trouble| (advice(&trouble), Source::from(trouble));
        let mut answer = open.client.post(&url, &all, &packed).map_err(failed)?;
        let body = answer.read(ANSWER).map_err(failed)?;
        Ok(Said { status: answer.status, retry_after: answer.retry_after, body })
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.opened().map(drop).map_err(|(advice, source)| format!("{source}: {advice}"))
    }

    fn opened(&self) -> Result<Open, (&'static str, Source)> {
        let tls = Tls::read(&self.settings.tls).map_err(|error| ("check the files of tls", error.into()))?;
        let authorization = authorization(&self.who).map_err(|error| ("check the file", error.into()))?;
        let client = Client::new(self.settings.url.get(), Some(&tls), self.settings.timeout);
        Ok(Open { client, authorization })
    }

    /// What is to be told when nothing is known.
    pub(crate) fn error(
        &self,
        events: usize,
        advice: &'static str,
        not_before: Option<Duration>,
        source: impl Into<Source>,
    ) -> FarError {
        let attempted = format!("sending {events} events to {}", self.settings.url.get());
        FarError { attempted, advice, not_before, source: source.into() }
    }

    /// An answer that says nothing of the events.
    pub(crate) fn unsent(&mut self, events: usize, said: &Said, sort: Sort) -> FarError {
        let advice = match sort {
            Sort::Settings(advice) => {
                // A key that was renewed is read again.
                self.open = None;
                advice
            }
            _ => "it is tried again, when the server says if it does; see there what keeps it busy",
        };
        let source = Answered { status: said.status, words: escape(said.words().as_bytes()) };
        self.error(events, advice, said.retry_after, source)
    }

    /// An answer that isn't one of such a server.
    pub(crate) fn garbled(&self, events: usize) -> FarError {
        self.error(events, advice(&Trouble::Garbled), None, Trouble::Garbled)
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl Said {
    /// The beginning of what it says.
    pub(crate) fn words(&self) -> String {
        short(&String::from_utf8_lossy(self.body.get(..4096).unwrap_or(&self.body)))
    }

    /// Why a load was refused, with its status.
    pub(crate) fn reason(&self) -> String {
        format!("status {}: {}", self.status, self.words())
    }

    pub(crate) fn sort(&self) -> Sort {
        match self.status {
            200..=299 => Sort::Taken,
            408 | 425 | 429 | 500..=599 => Sort::Later,
            413 => Sort::TooLarge,
            401 | 403 => Sort::Settings("check who the sensor is there, and what that one may do"),
            407 => Sort::Settings("check the proxy of the environment"),
            300..=399 => Sort::Settings("it sends us elsewhere, where nothing is sent to: check url"),
            404 | 405 | 406 | 410 | 411 | 415 | 421 | 426 => {
                Sort::Settings("it takes no events in this way at this address: check url")
            }
            400..=499 => Sort::Refused,
            _ => Sort::Settings(advice(&Trouble::Garbled)),
        }
    }
}

fn advice(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Late => "it is tried again; see what keeps the server busy, or raise timeout_s",
        Trouble::Certificate(_) => {
            "nothing was sent: check tls.ca_file and the name in url, or somebody stands between"
        }
        Trouble::Unreached(_) | Trouble::Broken(_) => {
            "it is tried again; check url, the server, and the way there"
        }
        Trouble::TooMuch(_) | Trouble::Garbled => {
            "it is tried again; check that there is such a server at url"
        }
    }
}

/// What stands behind `Authorization:`.
fn authorization(who: &Who) -> Result<Option<Key>, NoKey> {
    let of = |path: &Path, key: Result<Key, String>| {
        key.map_err(|why| NoKey { path: escape(path.as_os_str().as_encoded_bytes()), why })
    };
    let token = |word: &str, path: &Path| {
        of(path, Key::read(path)).map(|key| Some(key.map(|key| format!("{word} {key}"))))
    };
    match who {
        Who::Login(Login::Nobody) => Ok(None),
        Who::Login(Login::User(user, path)) => {
            let basic = |password: &str| {
                let mut header = b"Basic ".to_vec();
                base64(format!("{user}:{password}").as_bytes(), &mut header);
                String::from_utf8(header).unwrap_or_default()
            };
            of(path, Key::read_password(path)).map(|key| Some(key.map(basic)))
        }
        Who::Login(Login::ApiKey(path)) => token("ApiKey", path),
        Who::Login(Login::Token(path)) => token("Bearer", path),
        Who::Token(word, path) => token(word, path),
    }
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // A vector takes every byte: there is no error to tell.
    packer.write_all(body).and_then(|()| packer.finish()).unwrap_or_default()
}
