"""What finetuning is made of; :mod:`napari_clickseg.training.finetune` is the door."""
