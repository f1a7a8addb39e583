"""The model `shapes`: coloured shapes on coloured grounds, small enough to ship with dw."""
