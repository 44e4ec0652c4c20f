"""The engine: builds what a recipe names, pretrains and evaluates it. It knows interfaces, never a method."""
