-- Seats that operators hold back from sale. Redis decides what is for sale; this is what it withholds
-- again after it lost data. A seat that is sold all the same belongs to its owner.

create table withheld_seats (
    concert_id integer not null,
    concert_date date not null,
    seat_number integer not null,
    withheld_at timestamptz not null,
    constraint withheld_seats_pkey primary key (concert_id, concert_date, seat_number),
    constraint withheld_seats_concert_id_range check (concert_id between 1 and 4194303),
    constraint withheld_seats_seat_number_range check (seat_number between 1 and 100000)
);
