//! Every bound on what a registration may contain. A value at the bound is accepted, one beyond
//! is refused with a text that names the bound.

/// Characters in a service or pod name.
pub const NAME_MAX: usize = 128;
/// Characters in a `service:pod` key; two names at their bound are too long together.
pub const KEY_MAX: usize = 255;
/// Providers of one pod.
pub const PROVIDERS_MAX: usize = 64;
/// Characters in a protocol token.
pub const PROTOCOL_MAX: usize = 32;
/// Characters in a provider's address (RFC 1035 section 2.3.4 for host names).
pub const HOST_MAX: usize = 253;
/// Characters in a provider id.
pub const PROVIDER_ID_MAX: usize = 128;
/// Characters in a health-check or notification URL.
pub const URL_MAX: usize = 512;
/// Entries in the list of subscriptions of one pod.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Provider ids in the filter of one subscription.
pub const FILTER_IDS_MAX: usize = 64;
/// Characters in an instance id.
pub const INSTANCE_ID_MAX: usize = 64;
