//! Telling polls from other requests.

use std::time::Duration;

use super::ledger::{Answered, Class, Request, Verb};

/// One poll of one host: its assignment is asked for, and then, unless that is new, the release that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Poll {
    /// Whose it is.
    pub(super) host: usize,
    /// When it began.
    pub(super) begun: Duration,
    /// How long asking took, what the store waited for a change left out; none of a poll that was not answered.
    pub(super) took: Option<Duration>,
    /// How it ended.
    pub(super) answered: Answered,
}

/// The polls among one host's requests, which are in order.
///
/// Only a poll asks for an assignment without waiting, and then lets the store wait with the release. Work that took a while
/// asks for the assignment alone, and a probation for the release alone; what waits beside a poll is part of it.
pub(super) fn polls_in(requests: &[Request]) -> Vec<Poll> {
    let mut polls = Vec::new();
    let mut assignment: Option<Request> = None;
    for request in requests.iter().filter(|request| request.verb == Verb::Read) {
        match (request.class, request.may_wait) {
            (Class::Assignment, false) if matches!(request.answered, Answered::Failed | Answered::Done) => {
                polls.push(poll(request, Some(request.took)));
                assignment = None;
            }
            (Class::Assignment, false) => assignment = Some(*request),
            (Class::Remote, true) => {
                if let Some(assignment) = assignment.take() {
                    let waited = if request.waited { Duration::ZERO } else { request.took };
                    let took = (request.answered != Answered::Unanswered).then_some(assignment.took + waited);
                    polls.push(Poll { begun: assignment.begun, ..poll(request, took) });
                }
            }
            _ => {}
        }
    }
    polls
}

fn poll(request: &Request, took: Option<Duration>) -> Poll {
    Poll { host: request.host, begun: request.begun, took, answered: request.answered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(class: Class, may_wait: bool, answered: Answered, begun: u64) -> Request {
        let (begun, took) = (Duration::from_millis(begun), Duration::from_millis(5));
        Request { host: 1, verb: Verb::Read, class, may_wait, waited: false, answered, begun, took }
    }

    #[test]
    fn only_an_assignment_and_then_a_release_are_a_poll() {
        use Answered::{Absent, Done, Failed, Unchanged};
        let requests = [
            request(Class::Assignment, false, Absent, 0),
            request(Class::Remote, true, Unchanged, 10),
            // A probation.
            request(Class::Remote, false, Unchanged, 20),
            // After a build.
            request(Class::Assignment, false, Unchanged, 30),
            request(Class::Assignment, false, Unchanged, 40),
            request(Class::Trust, false, Absent, 45),
            request(Class::Assignment, true, Unchanged, 48),
            request(Class::Remote, true, Done, 50),
            request(Class::Assignment, false, Failed, 60),
            request(Class::Assignment, false, Done, 70),
        ];
        let polls = polls_in(&requests);
        let begun: Vec<_> = polls.iter().map(|poll| poll.begun.as_millis()).collect();
        assert_eq!(begun, [0, 40, 60, 70]);
        let took: Vec<_> = polls.iter().filter_map(|poll| Some(poll.took?.as_millis())).collect();
        assert_eq!(took, [10, 10, 5, 5]);
        assert!(polls.iter().map(|poll| poll.answered).eq([Unchanged, Done, Failed, Done]));
    }

    #[test]
    fn what_the_store_waited_is_no_part_of_how_long_asking_took() {
        let waited = Request { waited: true, ..request(Class::Remote, true, Answered::Unchanged, 10) };
        let polls = polls_in(&[request(Class::Assignment, false, Answered::Unchanged, 0), waited]);
        assert_eq!(polls[0].took, Some(Duration::from_millis(5)));
        let open = Request { answered: Answered::Unanswered, ..waited };
        let polls = polls_in(&[request(Class::Assignment, false, Answered::Unchanged, 0), open]);
        assert_eq!(polls[0].took, None);
    }
}
