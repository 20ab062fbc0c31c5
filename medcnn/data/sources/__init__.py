"""Sources of data: table, folder, MedMNIST file; their labels and boxes."""
