from srl_agent.reports.comparison import Segment, segments


def test_segments_show_what_matches():
    model, expert = segments("x = 3, so", "x = 4")
    assert model == [Segment("x = ", matches=True), Segment("3, so", matches=False)]
    assert expert == [Segment("x = ", matches=True), Segment("4", matches=False)]


def test_a_repetitive_answer_does_not_stall_the_report():
    texts = "a" * 8_000, "ab" * 4_000  # minutes for difflib
    for text, cut in zip(texts, segments(*texts), strict=True):
        assert "".join(segment.text for segment in cut) == text
        assert any(segment.matches for segment in cut)
