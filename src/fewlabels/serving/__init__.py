"""The served page: classify images, label those that help most, train again. Its logic needs no Gradio."""
