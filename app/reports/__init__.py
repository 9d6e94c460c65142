"""What officials owe by law, made of what happened: it reads across rooms under rights, and changes none of them."""
