#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! `builder` checks what was said and starts; `session` keeps the pod registered; `notice` answers
//! the manager; `view` is what is known of others; `direct` is for
//! tools. Not here: what a service does with it.

mod address;
mod builder;
mod deadline;
pub mod direct;
mod error;
mod member;
mod notice;
mod profile;
mod session;
mod standing;
mod view;

pub use builder::Builder;
pub use error::Error;
pub use governance_api::{PodSummary, Provider, Status, Subscription, SubscriptionFilter};
pub use http::{Method, StatusCode};
pub use member::Member;
pub use notice::{Paths, Receiver, Reply};
pub use standing::{Notifications, Phase, Standing};
pub use view::{Change, Changes, Pick, Pod, Select, View};
