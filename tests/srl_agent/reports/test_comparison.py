from srl_agent.reports.comparison import Segment, match_of


def test_segments_show_what_matches():
    match = match_of("x = 3, so", "x = 4")
    assert match.action == [Segment("x = ", matches=True), Segment("3, so", matches=False)]
    assert match.expert == [Segment("x = ", matches=True), Segment("4", matches=False)]


def test_a_repetitive_answer_does_not_stall_the_report():
    texts = "a" * 8_000, "ab" * 4_000  # minutes for difflib
    match = match_of(*texts)
    for text, cut in zip(texts, (match.action, match.expert), strict=True):
        assert "".join(segment.text for segment in cut) == text
        assert any(segment.matches for segment in cut)
