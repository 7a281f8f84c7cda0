use super::*;

/// A Lease in memory: it takes a write only for the version that it has.
#[derive(Default)]
struct Shelf(Option<Found>, u32);

impl Shelf {
    fn take(&mut self, step: Move) -> bool {
        let (record, fits) = match step {
            Move::Wait => return false,
            Move::Create(record) => (record, self.0.is_none()),
            Move::Replace(Found { record, version }) => {
                (record, self.0.as_ref().is_some_and(|found| found.version == version))
            }
        };
        if fits {
            self.1 += 1;
            self.0 = Some(Found { record, version: self.1.to_string() });
        }
        fits
    }
}

fn one(identity: &str) -> Election {
    Election::new(identity.to_owned(), Timing::default())
}

fn wall(second: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + second, 0).unwrap()
}

/// One look of one candidate, `second` seconds after the start.
fn look(candidate: &mut Election, shelf: &mut Shelf, start: Instant, second: u64) -> bool {
    let now = start + Duration::from_secs(second);
    let step = candidate.next(shelf.0.clone(), now, wall(i64::try_from(second).unwrap()));
    if shelf.take(step) {
        candidate.accepted(now);
    }
    candidate.leads(now)
}

#[test]
fn one_of_two_leads_as_long_as_it_renews() {
    let (mut first, mut second, mut shelf) = (one("a"), one("b"), Shelf::default());
    let start = Instant::now();
    for at in 0..100 {
        assert!(look(&mut first, &mut shelf, start, at));
        assert!(!look(&mut second, &mut shelf, start, at), "at {at} s");
    }
    let record = shelf.0.unwrap().record;
    assert_eq!((record.holder.as_deref(), record.transitions), (Some("a"), 0));
    assert_eq!((record.acquired, record.renewed), (Some(wall(0)), Some(wall(99))));
}

#[test]
fn after_a_crash_the_other_leads_once_the_lease_has_run_out_and_not_before() {
    let (mut first, mut second, mut shelf) = (one("a"), one("b"), Shelf::default());
    let start = Instant::now();
    assert!(look(&mut first, &mut shelf, start, 0));
    let taken = (1..60).find(|at| look(&mut second, &mut shelf, start, *at)).unwrap();
    assert_eq!(taken, 16, "it saw the Lease first at 1 s");
    assert!(
        !first.leads(start + Duration::from_secs(10)),
        "the first knows by then, without a word from outside"
    );
    assert_eq!(shelf.0.unwrap().record.transitions, 1);
}

#[test]
fn a_lease_that_is_given_back_is_taken_at_the_next_look() {
    let (mut first, mut second, mut shelf) = (one("a"), one("b"), Shelf::default());
    let start = Instant::now();
    look(&mut first, &mut shelf, start, 0);
    assert!(!look(&mut second, &mut shelf, start, 1));
    let step = first.resign(shelf.0.clone(), wall(2));
    assert!(shelf.take(step));
    assert!(!first.leads(start + Duration::from_secs(2)));
    assert!(look(&mut second, &mut shelf, start, 2));
    let step = first.resign(shelf.0.clone(), wall(3));
    assert_eq!(step, Move::Wait, "what another holds is not given back");
}

#[test]
fn of_two_that_take_a_free_lease_at_once_one_is_refused() {
    let (mut first, mut second, mut shelf) = (one("a"), one("b"), Shelf::default());
    let now = Instant::now();
    let (one, other) = (first.next(None, now, wall(0)), second.next(None, now, wall(0)));
    assert!(shelf.take(one) && !shelf.take(other));
    first.accepted(now);
    assert!(first.leads(now) && !second.leads(now));
}

#[test]
fn a_leader_that_sees_another_stops_at_once() {
    let (mut first, mut shelf) = (one("a"), Shelf::default());
    let start = Instant::now();
    look(&mut first, &mut shelf, start, 0);
    shelf.0.as_mut().unwrap().record.holder = Some("b".to_owned());
    assert!(!look(&mut first, &mut shelf, start, 1));
}

#[test]
fn a_leader_that_can_t_renew_stops_before_anybody_else_may_begin() {
    let (mut first, mut shelf) = (one("a"), Shelf::default());
    let start = Instant::now();
    look(&mut first, &mut shelf, start, 0);
    let at = |second| start + Duration::from_secs(second);
    assert!(first.leads(at(9)) && !first.leads(at(10)));
    assert_eq!(first.pause(at(9)), Duration::from_secs(1), "it looks again just then");
    // The API server answers again, and nobody has taken the Lease: it goes on.
    assert!(look(&mut first, &mut shelf, start, 14));
}

#[test]
fn an_answer_that_was_long_on_its_way_gives_no_more_time() {
    let mut first = one("a");
    let sent = Instant::now();
    assert!(matches!(first.next(None, sent, wall(0)), Move::Create(_)));
    first.accepted(sent);
    assert!(!first.leads(sent + Duration::from_secs(10)));
}

#[test]
fn the_other_machine_s_clock_does_not_matter() {
    let (mut first, mut second, mut shelf) = (one("a"), one("b"), Shelf::default());
    let start = Instant::now();
    look(&mut first, &mut shelf, start, 0);
    // By its own clock it is a year later.
    let step = second.next(shelf.0.clone(), start, wall(365 * 86_400));
    assert_eq!(step, Move::Wait);
}
