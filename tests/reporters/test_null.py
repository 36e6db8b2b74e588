from event_samples import event
from maniple.reporter import Reporter
from maniple.reporters.null import NullReporter


def test_it_is_a_reporter_that_keeps_nothing():
    reporter = NullReporter()
    reporter.report(event())
    reporter.flush()
    reporter.close()
    assert isinstance(reporter, Reporter)
    assert not vars(reporter)
