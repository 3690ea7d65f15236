"""The rival captioners that DSACap is compared with, one file each."""
