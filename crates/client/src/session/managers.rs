//! Which of several managers is asked next. One of them is active; a standby says where.

use super::url::ManagerUrl;

/// The configured managers and the one that another named.
#[derive(Debug)]
pub(super) struct Managers {
    /// At least one.
    configured: Vec<ManagerUrl>,
    /// Index of the one to ask.
    current: usize,
    /// Named by a standby and not among the configured ones; asked once, and kept while it answers.
    named: Option<ManagerUrl>,
    /// How many of a round were asked without success.
    failed: usize,
}

/// Whether it is worth asking the next one at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// The next one was not asked in this round.
    HasMore,
    /// All were: pause.
    IsOver,
}

impl Managers {
    pub(super) fn new(configured: Vec<ManagerUrl>) -> Self {
        Self { configured, current: 0, named: None, failed: 0 }
    }

    /// The one to ask.
    pub(super) fn current(&self) -> &ManagerUrl {
        let configured = || self.configured.get(self.current);
        self.named.as_ref().or_else(configured).expect("checked when it was built: at least one")
    }

    /// It answered as an active one does.
    pub(super) fn succeed(&mut self) {
        self.failed = 0;
    }

    /// It did not: on to the next, or to the one that it named.
    pub(super) fn fail(&mut self, active: Option<ManagerUrl>) -> Round {
        // A named one does not count: it was asked instead of one of the configured.
        let was_named = self.named.take().is_some();
        self.failed += 1;
        if let Some(index) = self.configured.iter().position(|url| Some(url) == active.as_ref()) {
            self.current = index;
        } else if !was_named && active.is_some() {
            self.named = active;
        } else {
            self.current = (self.current + 1) % self.configured.len();
        }
        // Twice, because standbys may name each other, or one that is not there.
        let most = self.configured.len() + usize::from(self.named.is_some());
        if self.failed < most {
            return Round::HasMore;
        }
        self.failed = 0;
        Round::IsOver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ManagerUrl {
        ManagerUrl::parse(text).unwrap()
    }

    fn managers() -> Managers {
        Managers::new(vec![url("http://a:1"), url("http://b:1"), url("http://c:1")])
    }

    #[test]
    fn every_manager_is_asked_once_in_a_round() {
        let mut managers = managers();
        for round in 0..2 {
            assert_eq!(*managers.current(), url("http://a:1"), "round {round}");
            assert_eq!(managers.fail(None), Round::HasMore);
            assert_eq!(*managers.current(), url("http://b:1"));
            assert_eq!(managers.fail(None), Round::HasMore);
            assert_eq!(*managers.current(), url("http://c:1"));
            assert_eq!(managers.fail(None), Round::IsOver);
        }
    }

    #[test]
    fn the_one_that_a_standby_names_is_asked_next() {
        let mut managers = managers();
        assert_eq!(managers.fail(Some(url("http://c:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://c:1"));
        managers.succeed();
        assert_eq!(managers.fail(Some(url("http://elsewhere:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://elsewhere:1"));
        managers.fail(None);
        assert_eq!(*managers.current(), url("http://a:1"), "a named one is asked once");
    }

    #[test]
    fn a_single_standby_that_names_an_unknown_one_is_followed_before_a_pause() {
        let mut managers = Managers::new(vec![url("http://a:1")]);
        assert_eq!(managers.fail(Some(url("http://elsewhere:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://elsewhere:1"));
        assert_eq!(managers.fail(Some(url("http://a:1"))), Round::IsOver);
        assert_eq!(*managers.current(), url("http://a:1"));
    }

    #[test]
    fn standbys_that_name_each_other_do_not_keep_it_busy() {
        let mut managers = managers();
        let over = (0..10).filter(|turn| {
            let other = if turn % 2 == 0 { "http://b:1" } else { "http://a:1" };
            managers.fail(Some(url(other))) == Round::IsOver
        });
        assert!(over.count() >= 3);
    }
}
