//! `GET /health`, `/ready` and `/version`: answered in every phase.

use axum::extract::State;
use governance_api::{Health, Ready, Role, Storage, Version};

use super::problem::Problem;
use super::{Answer, Shared, json_answer};
use crate::engine::{Phase, Writes};
use crate::wire;

/// 200 while the process lives, whatever its store does: a restart would not help.
pub(super) async fn health(State(state): Shared) -> Answer {
    let standing = state.engine.standing();
    let role = match standing.phase {
        Phase::Active => Role::Active,
        Phase::Standby { .. } => Role::Standby,
        Phase::Loading { .. } => Role::Loading,
        Phase::Stopping => Role::Stopping,
    };
    Ok(json_answer(to_json(&Health {
        status: "healthy".to_owned(),
        role,
        epoch: standing.epoch,
        storage: Storage {
            kind: standing.storage.kind.to_owned(),
            reachable: standing.writes == Writes::Available,
            durable: standing.storage.is_durable,
        },
        version: state.version.to_owned(),
        uptime_seconds: state.started.elapsed().as_secs(),
    })))
}

/// 200 while reads can be answered.
pub(super) async fn ready(State(state): Shared) -> Answer {
    let standing = state.engine.standing();
    if state.draining.is_cancelled() {
        return Err(Problem::not_active(&Phase::Stopping));
    }
    if standing.phase != Phase::Active {
        return Err(Problem::not_active(&standing.phase));
    }
    let (writes, reason, since) = match &standing.writes {
        Writes::Available => ("available", None, None),
        Writes::Unavailable { since, .. } => {
            let reason = "the store cannot be reached; the manager's log says why".to_owned();
            ("unavailable", Some(reason), Some(wire::time_text(*since)))
        }
    };
    let (status, writes) = ("ready".to_owned(), writes.to_owned());
    Ok(json_answer(to_json(&Ready { status, writes, reason, since })))
}

pub(super) async fn version(State(state): Shared) -> Answer {
    let name = "governance-manager".to_owned();
    Ok(json_answer(to_json(&Version { name, version: state.version.to_owned() })))
}

fn to_json<T: serde::Serialize>(answer: &T) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts and numbers always have a JSON form")
}
