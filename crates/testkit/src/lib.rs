//! Doubles and drivers for tests, of no use to a running system: it is a dev-dependency only.
//!
//! Beside doubles of what the engine is given: the real program as a process (`manager`), a client
//! that speaks HTTP byte by byte (`http`), and the pods that it meets (`fleet`); the shell on its
//! file (`sqlite_shell`); a throw-away PostgreSQL (`postgres`), a TCP proxy that misbehaves on
//! command (`proxy`), a name server (`names`), certificates (`certificates`), and a throw-away
//! Prometheus (`prometheus`).

pub mod certificates;
pub mod faulty_store;
pub mod fleet;
pub mod http;
pub mod manager;
pub mod names;
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod sqlite_shell;
pub mod wait;
