-- The first version. docs/decisions/0027-journal.md says why it is so.

-- Lines of up to 256 events that follow each other, each with its end, packed together (LZ4).
CREATE TABLE block (
    first  INTEGER PRIMARY KEY,  -- position of its first event
    events INTEGER NOT NULL,     -- how many
    until  INTEGER NOT NULL,     -- the latest time of one
    bytes  INTEGER NOT NULL,     -- of the lines before they were packed
    lines  BLOB NOT NULL
) STRICT;

-- Words that events have in common; an event has their ids.
CREATE TABLE run        (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE action     (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE entity     (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE user       (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE login      (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE executable (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE remote     (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

-- One row an event. Positions rise by one and are never used again; the oldest go.
CREATE TABLE event (
    position   INTEGER PRIMARY KEY,
    block      INTEGER NOT NULL,    -- whose first is at most position; its place there is the difference
    time       INTEGER NOT NULL,    -- @timestamp, nanoseconds since 1970
    run        INTEGER NOT NULL,    -- event.id is the run's text, a hyphen and the sequence
    sequence   INTEGER,             -- none where event.id is the run's text alone
    action     INTEGER NOT NULL,    -- event.action
    severity   INTEGER,             -- event.severity
    entity     INTEGER,             -- process.entity_id
    user       INTEGER,             -- user.name, else user.id
    login      INTEGER,             -- sensor.login.name, else sensor.login.uid
    executable INTEGER,             -- process.executable
    remote     INTEGER              -- the other host: destination.ip, or source.ip of what came in
) STRICT;

CREATE INDEX event_time       ON event(time);
CREATE INDEX event_sequence   ON event(run, sequence);
CREATE INDEX event_action     ON event(action);
CREATE INDEX event_severity   ON event(severity)   WHERE severity IS NOT NULL;
CREATE INDEX event_entity     ON event(entity)     WHERE entity IS NOT NULL;
CREATE INDEX event_user       ON event(user)       WHERE user IS NOT NULL;
CREATE INDEX event_login      ON event(login)      WHERE login IS NOT NULL;
CREATE INDEX event_executable ON event(executable) WHERE executable IS NOT NULL;
CREATE INDEX event_remote     ON event(remote)     WHERE remote IS NOT NULL;

-- How far each output is: all up to there has arrived.
CREATE TABLE cursor (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What an output's far side refused for good; the newest of them.
CREATE TABLE dead (
    id       INTEGER PRIMARY KEY,
    output   TEXT NOT NULL,
    position INTEGER NOT NULL,
    event    TEXT NOT NULL,      -- event.id
    time     INTEGER NOT NULL,
    reason   TEXT NOT NULL,      -- in the far side's words
    line     TEXT NOT NULL,
    sum      INTEGER NOT NULL    -- bytes of all lines and reasons before this
) STRICT;
