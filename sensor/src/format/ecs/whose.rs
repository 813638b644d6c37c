//! Whose event a line of ECS is, without reading all of it.

use serde::Deserialize;

/// Of a line without its end; one that is no event is nobody's.
#[must_use]
pub fn whose(line: &str) -> Whose {
    serde_json::from_str(line).unwrap_or_default()
}

/// Who is in an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Whose {
    user: User,
    process: Process,
    sensor: Sensor,
}

impl Whose {
    /// `process.pid`.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid
    }

    /// The numbers and names of its users: `user`, `process.real_user` and `sensor.login`.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let Self { user, process: Process { real_user, .. }, sensor: Sensor { login } } = self;
        [&user.id, &user.name, &real_user.id, &real_user.name, &login.uid, &login.name]
            .into_iter()
            .filter_map(|word| word.as_deref())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    pid: Option<u32>,
    real_user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sensor {
    login: Login,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    id: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    uid: Option<String>,
    name: Option<String>,
}
