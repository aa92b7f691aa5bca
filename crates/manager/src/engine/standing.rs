//! How the manager stands: may it answer reads, may it write, and if not why.

use std::sync::Arc;

use arc_swap::ArcSwap;
use governance_domain::Timestamp;
use governance_store::Description;

use super::lease::Term;

/// What the manager is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not read its state yet, and answers nothing about pods.
    Loading {
        /// What it waits for, in an operator's words.
        reason: String,
    },
    /// Another manager is active; this one waits to take over.
    Standby {
        /// Where the active one answers, `host:port`.
        active: String,
    },
    /// It answers and writes.
    Active,
    /// It finishes what it accepted, and ends.
    Stopping,
}

/// Whether the store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// As far as is known.
    Available,
    /// Not now.
    Unavailable {
        /// Since when.
        since: Timestamp,
        /// In an operator's words.
        why: String,
    },
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the manager is doing.
    pub phase: Phase,
    /// The epoch it writes in; 0 before the first.
    pub epoch: u32,
    /// Whether the store takes writes.
    pub writes: Writes,
    /// Which store.
    pub storage: Description,
}

impl Standing {
    /// The store takes no writes, for this reason, since now or an earlier failure.
    pub(super) fn fail_writes(&mut self, now: Timestamp, why: &str) {
        let since = match self.writes {
            Writes::Available => now,
            Writes::Unavailable { since, .. } => since,
        };
        self.writes = Writes::Unavailable { since, why: why.to_owned() };
    }
}

/// The current standing. Written by the writer alone.
#[derive(Debug)]
pub(super) struct Post {
    standing: ArcSwap<Standing>,
    /// For how long this manager may act: ends by itself, also while the writer does not run.
    term: ArcSwap<Term>,
}

impl Post {
    pub(super) fn new(storage: Description) -> Self {
        let standing = Standing {
            phase: Phase::Loading { reason: "starting".to_owned() },
            epoch: 0,
            writes: Writes::Available,
            storage,
        };
        Self { standing: ArcSwap::from_pointee(standing), term: ArcSwap::from_pointee(Term::Never) }
    }

    pub(super) fn load(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    pub(super) fn grant(&self, term: Term) {
        self.term.store(Arc::new(term));
    }

    pub(super) fn may_act(&self) -> bool {
        let is_active = matches!(self.standing.load().phase, Phase::Active | Phase::Stopping);
        is_active && self.term.load().holds()
    }

    pub(super) fn change(&self, change: impl Fn(&mut Standing)) {
        self.standing.rcu(|current| {
            let mut standing = Standing::clone(current);
            change(&mut standing);
            standing
        });
    }
}
