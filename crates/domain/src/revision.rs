//! The two counters that give changes and registrations their identity.

use std::fmt;

/// Bits of a counter below the epoch.
const COUNTER_BITS: u32 = 32;
/// A new epoch is taken when a counter reaches this, long before it could run into the epoch.
const COUNTER_ROLLOVER: u64 = 1 << 31;

macro_rules! epoch_counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The value before the first one of `epoch`.
            pub const fn start_of(epoch: u32) -> Self {
                Self((epoch as u64) << COUNTER_BITS)
            }

            /// From a stored or received number; any number is one.
            pub const fn from_u64(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The epoch this value was given in.
            pub const fn epoch(self) -> u64 {
                self.0 >> COUNTER_BITS
            }

            /// The next value of the same epoch.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// Whether it is time to take the next epoch.
            pub const fn is_exhausted(self) -> bool {
                self.0 & ((1 << COUNTER_BITS) - 1) >= COUNTER_ROLLOVER
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

epoch_counter! {
    /// Orders everything that is published: epoch × 2³² + counter. Given when a change is applied,
    /// never goes back within one registry id. Rows store no revision: the epoch of the next start
    /// is higher than all revisions of this one.
    Revision
}

epoch_counter! {
    /// Names one registration of a pod, so that a late result or a slow shutdown of an earlier one
    /// cannot touch it. Given when a registration is decided, and stored with it.
    RegistrationId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_revision_of_epoch_one_is_two_to_the_32_plus_one() {
        assert_eq!(Revision::start_of(1).next().as_u64(), 4_294_967_297);
    }

    #[test]
    fn counter_is_exhausted_at_two_to_the_31() {
        let base = 7_u64 << 32;
        assert!(!Revision::from_u64(base + (1 << 31) - 1).is_exhausted());
        assert!(Revision::from_u64(base + (1 << 31)).is_exhausted());
        assert_eq!(Revision::from_u64(base + 3).epoch(), 7);
    }
}
