//! Tests of outgoing connections, on loopback: which addresses are never connected to, in
//! `targets`; names and name servers in `names`.

mod names;
mod targets;
