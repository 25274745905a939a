"""Drawing: figures as SVG."""
