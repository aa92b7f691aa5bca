//! The watchdog of RFC 3539 §3.4.1 as a pure state machine: events in, orders out. Times and
//! messages are `connection`'s.

/// Answers in a row after which a connection that was opened again is trusted.
const REOPEN_ANSWERS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Traffic flows.
    Okay,
    /// An answer is overdue; traffic goes elsewhere.
    Suspect,
    /// Was down and has answered so often since.
    Reopen { answers: u8, is_late: bool },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing but waiting on.
    Wait,
    /// Send a DWR.
    Ask,
    /// Move traffic elsewhere.
    FailOver,
    /// Traffic may come back.
    FailBack,
    /// Close the connection.
    Close,
}

/// One connection's watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    state: State,
    /// A DWR was sent and not answered.
    is_pending: bool,
}

impl Watchdog {
    /// For a connection to a peer that was not down before.
    pub(super) const fn fresh() -> Self {
        Self { state: State::Okay, is_pending: false }
    }

    /// For a connection to a peer that was: send a DWR at once.
    pub(super) const fn reopened() -> Self {
        Self { state: State::Reopen { answers: 0, is_late: false }, is_pending: true }
    }

    /// Whether traffic may be sent.
    pub(super) const fn is_okay(&self) -> bool {
        matches!(self.state, State::Okay)
    }

    /// A message came; `is_answer` if it is a DWA.
    pub(super) fn received(&mut self, is_answer: bool) -> Order {
        if is_answer {
            self.is_pending = false;
        }
        match self.state {
            State::Okay => Order::Wait,
            State::Suspect => self.fail_back(),
            State::Reopen { .. } if !is_answer => Order::Wait,
            State::Reopen { answers, .. } => {
                let answers = answers + 1;
                if answers >= REOPEN_ANSWERS {
                    return self.fail_back();
                }
                self.state = State::Reopen { answers, is_late: false };
                Order::Wait
            }
        }
    }

    /// Nothing came for Tw.
    pub(super) fn elapsed(&mut self) -> Order {
        match self.state {
            State::Suspect | State::Reopen { is_late: true, .. } => Order::Close,
            State::Okay if self.is_pending => {
                self.state = State::Suspect;
                Order::FailOver
            }
            State::Reopen { .. } if self.is_pending => {
                self.state = State::Reopen { answers: 0, is_late: true };
                Order::Wait
            }
            State::Okay | State::Reopen { .. } => {
                self.is_pending = true;
                Order::Ask
            }
        }
    }

    fn fail_back(&mut self) -> Order {
        self.state = State::Okay;
        Order::FailBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_about_then_suspected_then_closed() {
        let mut watchdog = Watchdog::fresh();
        assert_eq!(watchdog.elapsed(), Order::Ask);
        assert_eq!(watchdog.elapsed(), Order::FailOver);
        assert!(!watchdog.is_okay());
        assert_eq!(watchdog.elapsed(), Order::Close);
    }

    #[test]
    fn any_message_ends_a_suspicion() {
        for is_answer in [false, true] {
            let mut watchdog = Watchdog::fresh();
            watchdog.elapsed();
            watchdog.elapsed();
            assert_eq!(watchdog.received(is_answer), Order::FailBack);
            assert!(watchdog.is_okay());
        }
    }

    #[test]
    fn traffic_does_not_stand_in_for_an_answer_that_is_due() {
        let mut watchdog = Watchdog::fresh();
        assert_eq!(watchdog.elapsed(), Order::Ask);
        assert_eq!(watchdog.received(false), Order::Wait);
        assert_eq!(watchdog.elapsed(), Order::FailOver);
    }

    #[test]
    fn a_connection_opened_again_is_trusted_after_three_answers() {
        let mut watchdog = Watchdog::reopened();
        for _ in 0..2 {
            assert_eq!(watchdog.received(true), Order::Wait);
            assert!(!watchdog.is_okay());
            assert_eq!(watchdog.elapsed(), Order::Ask);
        }
        assert_eq!(watchdog.received(true), Order::FailBack);
        assert!(watchdog.is_okay());
    }

    #[test]
    fn a_connection_opened_again_that_stays_silent_is_closed() {
        let mut watchdog = Watchdog::reopened();
        assert_eq!(watchdog.elapsed(), Order::Wait);
        assert_eq!(watchdog.elapsed(), Order::Close);
    }
}
